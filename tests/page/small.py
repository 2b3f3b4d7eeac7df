"""A course of two small notebooks and one hero, which makes a site in seconds."""

import base64
from io import BytesIO

from lora_teach.page.heroes import Hero

import nbformat
from nbformat import v4
from PIL import Image

HERO = Hero("00_small", "turn_it_down", "TurnItDown", {"strength": [0.0, 1.0]})
TEXT = """# Is this small?

**Read** 3 min · **Library** [a file](../lora_teach/layer.py) · next: [01 Other](01_other.ipynb#A-place)

![What is to be seen](../data/seen.png) A formula, $y = x W^\\top$, one in a line of its own,

$$\\frac{\\partial L}{\\partial B} < 1$$

and [the file's own text](../data/README.md), [this](#Is-this-small?), [the web](https://example.org).

<details><summary>Hint</summary>

```python
print("folded")
```

</details>"""


def picture():
    """Return a PNG's bytes."""
    file = BytesIO()
    Image.new("RGB", (30, 20), "white").save(file, "PNG")
    return file.getvalue()


def course(root):
    """Write the course into a folder and return the folder."""
    shown = v4.new_output(
        "execute_result",
        {"image/png": base64.b64encode(picture()).decode(), "text/plain": 'A picture of "nothing" & <no more>.'},
    )
    table = v4.new_output("execute_result", {"text/markdown": "| | $a$ |\n|---|---:|\n| b | 1 |", "text/plain": "a"})
    cells = [
        v4.new_markdown_cell(TEXT),
        v4.new_code_cell("explore(TurnItDown(None))", outputs=[shown]),
        v4.new_code_cell("print('a < b')", outputs=[v4.new_output("stream", name="stdout", text="a < b\n")]),
        v4.new_code_cell(
            "1/0", outputs=[v4.new_output("error", ename="E", evalue="no", traceback=["\x1b[31mE\x1b[0m: no"])]
        ),
        v4.new_code_cell("guess = None", outputs=[shown], metadata={"jupyter": {"outputs_hidden": True}}),
        v4.new_code_cell("table", outputs=[table]),
    ]
    for name, made in {"00_small": cells, "01_other": [v4.new_markdown_cell("# And this?\n\n## A place")]}.items():
        (root / "notebooks").mkdir(exist_ok=True)
        nbformat.write(v4.new_notebook(cells=made), root / "notebooks" / f"{name}.ipynb")
    for name, text in {
        "lora_teach/layer.py": "x = 1\n",
        "data/README.md": "# Data\n\n[Code](../lora_teach/layer.py)",
    }.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / "data" / "seen.png").write_bytes(picture())
    return root
