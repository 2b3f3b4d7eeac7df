import json

from tests.notebooks import save, toy

import nbformat
import pytest
from nbformat import v4


def saved(path, *cells):
    """Save a notebook of these cells and read what was written."""
    toy.write(path, list(cells))
    save.save(path)
    return nbformat.read(path, as_version=4)


def code(source, *tags):
    return v4.new_code_cell(source, metadata={"tags": list(tags)})


def test_saving_twice_gives_the_same_bytes(good):
    before = good.read_bytes()
    save.save(good)
    assert good.read_bytes() == before and save.is_clean(good)


def test_error_is_kept_short_and_without_paths(tmp_path):
    notebook = saved(tmp_path / "a.ipynb", code("import json\njson.loads('{')", "raises-exception"))
    [error] = notebook.cells[0].outputs
    text = "\n".join(error.traceback)
    assert "----> 2 json.loads('{')" in text and text.endswith(f"JSONDecodeError: {error.evalue}")
    assert "File" not in text and "\x1b" not in text
    assert save.is_clean(tmp_path / "a.ipynb")


def test_failing_notebook_is_left_as_it_was(tmp_path, capsys):
    path = tmp_path / "a.ipynb"
    toy.write(path, [code("1 / 0")])
    before = path.read_bytes()
    assert save.main([str(path)]) == 1
    assert path.read_bytes() == before
    assert "left as it was" in capsys.readouterr().err


def test_widget_goes_and_its_sentence_stays(tmp_path):
    source = """import ipywidgets

class Shown(ipywidgets.VBox):
    def _repr_mimebundle_(self, **options):
        return super()._repr_mimebundle_(**options) | {"text/plain": "This is the sentence of it."}

Shown()"""
    notebook = saved(tmp_path / "a.ipynb", code(source), code("ipywidgets.IntSlider()", "nbval-ignore-output"))
    assert notebook.cells[0].outputs[0].data == {"text/plain": "This is the sentence of it."}
    assert notebook.cells[1].outputs == []
    assert "widget" not in json.dumps(notebook.metadata)


def test_bare_widget_is_refused(tmp_path):
    toy.write(tmp_path / "a.ipynb", [code("import ipywidgets\nipywidgets.IntSlider()")])
    with pytest.raises(save.NotClean, match=r"cell 0 shows a bare widget \(IntSlider\)"):
        save.save(tmp_path / "a.ipynb")


def test_pieces_of_a_stream_are_joined(tmp_path):
    source = "import time\nfor i in range(3):\n    print(i, flush=True)\n    time.sleep(0.3)"
    assert [output.text for output in saved(tmp_path / "a.ipynb", code(source)).cells[0].outputs] == ["0\n1\n2\n"]


def test_metadata_is_fixed_and_tags_stay(tmp_path):
    cell = v4.new_code_cell("1", metadata={"tags": ["nbval-ignore-output"], "editable": True, "collapsed": False})
    notebook = saved(tmp_path / "a.ipynb", cell, v4.new_markdown_cell("x\n\n", metadata={"slideshow": {}}))
    assert notebook.cells[0].metadata == {"tags": ["nbval-ignore-output"]}
    assert notebook.cells[1].metadata == {} and notebook.cells[1].source == "x"
    assert notebook.metadata == save.METADATA


def test_output_under_a_prediction_is_folded(tmp_path):
    cells = [code("print(0)"), code("guess = None\nprint(1)"), code("x = 1"), code("print(2)", "nbval-ignore-output")]
    notebook = saved(tmp_path / "a.ipynb", *cells, v4.new_markdown_cell("So it is."), code("print(3)"))
    folded = {"jupyter": {"outputs_hidden": True}}
    ignored = {"tags": ["nbval-ignore-output"]}
    assert [cell.metadata for cell in notebook.cells] == [{}, folded, {}, ignored | folded, {}, {}]
    kinds = [[output.output_type for output in cell.get("outputs", [])] for cell in notebook.cells]
    assert kinds == [["stream"], ["display_data", "stream"], [], ["display_data", "stream"], [], ["stream"]]
    assert notebook.cells[1].outputs[0].data == {} and save.is_clean(tmp_path / "a.ipynb")


def test_check_names_the_prediction_that_is_open(good, tmp_path, capsys):
    notebook = nbformat.read(good, as_version=4)
    del notebook.cells[3].metadata["jupyter"]
    path = tmp_path / "a.ipynb"
    path.write_text(save.render(notebook), encoding="utf-8")
    assert save.main(["--check", str(path)]) == 1
    assert "the output under a prediction is open in cells [3]" in capsys.readouterr().out


def test_ids_are_kept_and_missing_or_double_ones_made_from_the_text(tmp_path):
    path = tmp_path / "a.ipynb"
    raw = json.loads(save.render(v4.new_notebook(cells=[code(str(number)) for number in range(4)])))
    for cell, name in zip(raw["cells"], ("mine", "twice", "twice", None), strict=True):
        cell["id"] = name
    del raw["cells"][3]["id"]
    path.write_text(json.dumps(raw), encoding="utf-8")
    first, second = ([cell.id for cell in save.load(path).cells] for _ in range(2))
    assert first == second and len(set(first)) == 4 and first[:2] == ["mine", "twice"]
    assert "mine" not in [cell.id for cell in save.load(path, new_ids=True).cells]


def test_check_says_what_is_not_clean(good, tmp_path, capsys):
    path = tmp_path / "a.ipynb"
    path.write_text(good.read_text(encoding="utf-8").replace('"metadata": {}', '"metadata": {"collapsed": true}', 1))
    before = path.read_bytes()
    assert save.main(["--check", str(path)]) == 1 and path.read_bytes() == before
    assert save.main(["--check", str(good)]) == 0
    assert (
        capsys.readouterr().out == "a.ipynb: not clean: run python tests/notebooks/save.py on it\n02_toy.ipynb: clean\n"
    )
