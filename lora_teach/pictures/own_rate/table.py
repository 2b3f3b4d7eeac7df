"""The closing table: what each variant costs and what it gave, out of ``data/variants.json``."""

import ast
from pathlib import Path
from statistics import mean

from lora_teach.measure.results import load_result
from lora_teach.measure.variants import BESIDE
from lora_teach.pictures.own_rate.numbers import at, compare, spaced

PACKAGE = Path(__file__).parents[2]
FILES = {  # where a variant is written down; rsLoRA is one entry of a table in layer.py
    "LoRA": ["layer.py"],
    "QLoRA": ["bases/quantized/codes.py", "bases/quantized/linear.py"],
    "LoRA+": ["layers/loraplus.py"],
    "DoRA": ["layers/dora.py"],
    "PiSSA": ["layers/pissa.py"],
}


def code_lines(path):
    """Return how many lines of a Python file hold code: no blank ones, no comments, no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    words = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = (line for number, line in enumerate(lines, 1) if number not in words)
    return sum(1 for line in kept if line.strip() and not line.strip().startswith("#"))


def as_markdown(tasks, shared):
    """Return the table as Markdown.

    Args:
        tasks: ``{heading: (entries, whether a higher result is better, form)}``, such as `digit_entries` has them.
        shared: The rate at which all ran.
    """
    costs = load_result("variants")["results"]["cost"]
    heads = [f"{task}, {rate}" for task in tasks for rate in (f"{shared:g} for all", "each its own")]
    rows = [["", "a step's time", "memory", "lines of code", *heads]]
    for name in costs:
        if name != "full":
            rows.append([f"**{name}**" if name not in ("LoRA", *BESIDE.values()) else name, *_cost(name, costs)])
            for entries, higher, form in tasks.values():
                rows[-1] += [_cell(entries, name, lr, higher, form) for lr in (shared, None)]
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cost(name, costs):
    """Time and memory over plain LoRA's of the same rank, and lines of code."""
    own, plain = costs[name], costs["LoRA"]
    lines = sum(code_lines(PACKAGE / file) for file in FILES.get(name, []))
    written = str(lines) if lines else "1" if name in BESIDE else ""
    return [f"× {own['ms'] / plain['ms']:.1f}", f"× {own['bytes'] / plain['bytes']:.1f}", written]


def _cell(entries, name, lr, higher, form):
    """A result, and for a variant how it stands beside its plain LoRA."""
    result = spaced(mean(at(entries[name], lr or entries[name]["lr"])), form)
    if name in ("LoRA", *BESIDE.values()):
        return result
    return f"{result} {compare(entries, name, lr, higher).verdict}"
