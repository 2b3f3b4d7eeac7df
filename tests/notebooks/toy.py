"""A small notebook that keeps every rule, and the ways to break it; the rules themselves are tested on these."""

from pathlib import Path

from tests.notebooks import save

from nbformat import v4

CARD = " · ".join(
    [
        "**Read** 2 min",
        "**Exercises** 10 min",
        "**Needs** nothing",
        "**Runs in** 5 s",
        "**Paper** section 1",
        "**Library** [layer.py](../lora_teach/layer.py)",
    ]
)
TITLE = f"""# What is a toy?

{CARD}\\
previous: [01](01_before.ipynb) · [contents](00_start.ipynb) · next: [03](03_after.ipynb)

A toy is a small thing."""
SET_UP = """from lora_teach.exercises import TODO
from lora_teach.exercises.check import check, compare
from lora_teach.plots import figure, show"""
GUESS = """guess = None  # a number
drawing = figure(4, 3)
axes = drawing.subplots()
axes.plot([0, 1], [0, 1])
show(drawing, "The line goes up, as everybody said it would.")"""
EXERCISE = """## Exercise 1: twice (★★★, 10 min)

Write it.

<details><summary>Hint: what</summary>

Multiply.

</details>

<details><summary>Hint: how</summary>

Or add.

</details>

<details><summary>Solution</summary>

```python
def double(x):
    \"\"\"Return twice x.\"\"\"
    # It is a sum.

    total = x
    total += x
    return total
```

</details>"""
STUB = """@check
def check_double(double):
    compare(double(2), 4, "double(2)")


def double(x):
    return TODO


check_double(double)"""


def cells() -> list:
    """The cells of the good notebook."""
    return [
        v4.new_markdown_cell(TITLE),
        v4.new_code_cell(SET_UP),
        v4.new_markdown_cell("**Predict.** Does it go up?"),
        v4.new_code_cell(GUESS),
        v4.new_markdown_cell(f"The usual guess is right.\n\n{EXERCISE}"),
        v4.new_code_cell(STUB),
        v4.new_markdown_cell("## Recap\n\n- A toy is small.\n- A line goes up.\n- That is all."),
        v4.new_code_cell('print("1 line goes up.", "It is straight.", "That is all.", sep="\\n")'),
        v4.new_markdown_cell("## References\n\n- Nobody, 2020."),
    ]


def write(path: Path, content: list) -> None:
    """Write cells to a notebook, unexecuted."""
    notebook = v4.new_notebook(cells=content, metadata=save.METADATA)
    path.write_text(save.render(notebook), encoding="utf-8")


def course(folder: Path) -> Path:
    """Make a course of five toy notebooks around the good one, executed; return the good one's path."""
    (folder / "lora_teach").mkdir()
    (folder / "lora_teach" / "layer.py").touch()
    notebooks = folder / "notebooks"
    notebooks.mkdir()
    for name in ("00_start", "01_before", "03_after"):
        write(notebooks / f"{name}.ipynb", [v4.new_markdown_cell("# So?")])
    good = notebooks / "02_toy.ipynb"
    write(good, cells())
    save.save(good, new_ids=True)
    return good
