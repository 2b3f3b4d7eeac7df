"""Notebooks with their folded solutions filled in, or without them: for a test, for a teacher, for a class.

    python -m tests.notebooks.solutions fill FOLDER     copies of all notebooks, each stub replaced by its solution
    python -m tests.notebooks.solutions strip FOLDER    copies without the folded solutions; the hints stay
    python -m tests.notebooks.solutions run             fills a temporary copy, executes it in order, minutes

In FOLDER the copies lie in notebooks/, beside links to data/ and lora_teach/, so that they run there.
"""

import ast
import os
import re
import sys
import tempfile
from pathlib import Path

from lora_teach.exercises.my_file import globals_of
from tests.notebooks.reading import DETAILS, NOTEBOOKS, ROOT, calls_check, printed

import nbformat
from nbclient import NotebookClient

PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
SOLUTION = re.compile(r"<summary>\s*Solution")
SECONDS_FOR_A_CELL = 600


def solution_in(text):
    """Return the Python of the folded solution in a Markdown cell, or nothing."""
    folded = [part for part in DETAILS.findall(text) if SOLUTION.search(part)]
    return "\n\n".join(code.strip("\n") for part in folded for code in PYTHON.findall(part))


def fill(notebook):
    """Put each folded solution in place of its exercise's stub, above it or below; return how many there were."""
    exercises = [("", [])]  # one after the other: the solution, the cells with a stub
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            first, *others = re.split(r"^#{2,3} Exercise\b", cell.source, flags=re.MULTILINE)
            exercises[-1] = exercises[-1][0] + solution_in(first), exercises[-1][1]
            exercises += [(solution_in(part), []) for part in others]
        elif "TODO" in cell.source and calls_check(cell.source):
            exercises[-1][1].append(cell)
    for solution, stubs in exercises[1:]:
        assert solution and len(stubs) == 1, f"an exercise has a folded solution and one stub; this has {len(stubs)}"
        stubs[0].source = _replaced(stubs[0].source, solution)
    return len(exercises) - 1


def strip(notebook):
    """Take the folded solutions out; return how many there were."""
    count = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for folded in [part for part in DETAILS.findall(cell.source) if SOLUTION.search(part)]:
                cell.source, count = cell.source.replace(folded, "").rstrip() + "\n", count + 1
    return count


def _replaced(stub, solution):
    """Return a stub's cell in which the solution stands for whatever of the stub it defines."""
    names, lines, start = _bound(ast.parse(solution).body), stub.splitlines(), None
    for node in reversed(ast.parse(stub).body):
        is_stub = not isinstance(node, (ast.Import, ast.ImportFrom)) and names & _bound([node])
        if is_stub:
            first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
            del lines[first - 1 : node.end_lineno]
            start = first - 1
    assert start is not None, f"the stub defines nothing of {sorted(names)}"
    return "\n".join([*lines[:start], *solution.splitlines(), *lines[start:]])


def _bound(nodes):
    """Return the names that statements at the left margin bind."""
    names = set()
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        else:
            names |= {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    return names


def _used(source):
    """Return the names that a cell looks up and does not bind itself."""
    return globals_of(re.sub(r"\bawait ", "", source))


def needed(notebook, wanted):
    """Return the code cells that these need, themselves included, in order: the set-up and what binds a name they use.

    Of a cell of which no more is needed only the imports are returned.

    Args:
        wanted: Tells for a code cell whether it is one to be run.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    trees = [compile(c.source, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT).body for c in code]
    imports = [[node for node in tree if isinstance(node, (ast.Import, ast.ImportFrom))] for tree in trees]
    whole, partly, waiting = set(), set(), [0, *(index for index, cell in enumerate(code) if wanted(cell))]
    while waiting:
        index = waiting.pop()
        if index in whole:
            continue
        whole.add(index)
        for name in _used(code[index].source) - _bound(trees[index]):
            before = next((place for place in reversed(range(index)) if name in _bound(trees[place])), None)
            if before is not None:
                (partly.add if name in _bound(imports[before]) else waiting.append)(before)
    for index in partly - whole:
        code[index].source = "\n".join(map(ast.unparse, imports[index]))
    return [code[index] for index in sorted(whole | partly)]


def place(folder):
    """Make ``folder/notebooks``, with links beside it to what a notebook opens; return it."""
    notebooks = Path(folder) / "notebooks"
    notebooks.mkdir(parents=True)
    for name in ("data", "lora_teach", "requirements.txt"):
        (Path(folder) / name).symlink_to(ROOT / name)
    return notebooks


def execute(cells, folder, environment=None):
    """Run code cells in a clean kernel whose working folder this is; return what each of them printed."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.source) for cell in cells])
    for new, old in zip(notebook.cells, cells, strict=True):
        new.metadata = old.metadata
    client = NotebookClient(
        notebook, timeout=SECONDS_FOR_A_CELL, kernel_name="python3", resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--IPKernelApp.log_level=40"],
    )  # fmt: skip
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})})
    return [printed(cell) for cell in notebook.cells]


def verdicts(text):
    """Return the answers of checks in what was printed."""
    return re.findall(r"^(PASS|NOT YET|TODO)(?=:)", text, re.MULTILINE)


def run(folder):
    """Fill a copy of the whole course and execute every cell of it, in order; return the notebooks that failed."""
    notebooks, failed = place(folder), []
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        fill(notebook)
        texts = execute([c for c in notebook.cells if c.cell_type == "code"], notebooks, {"LORA_TEACH_KEEP": "yes"})
        found = [one for text in texts for one in verdicts(text)]
        print(f"{path.name}: {', '.join(found) or 'no check'}", flush=True)
        failed += [path.name] * (set(found) > {"PASS"} or found.count("PASS") < len(found))
    return failed


def main(arguments):
    """Run the command; return the exit status."""
    if arguments == ["run"]:
        with tempfile.TemporaryDirectory() as folder:
            return 1 if run(folder) else 0
    if len(arguments) != 2 or arguments[0] not in ("fill", "strip"):
        print(__doc__, file=sys.stderr)
        return 2
    change, folder = {"fill": fill, "strip": strip}[arguments[0]], place(arguments[1])
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        print(f"{path.name}: {change(notebook)} solutions")
        if change is fill:
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, folder / path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
