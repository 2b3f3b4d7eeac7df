"""The folded solutions of the thread's six notebooks solve them, and build a LoRA of one's own on the way."""

import io
import re
from contextlib import redirect_stdout

from lora_teach.exercises import my_file
from lora_teach.exercises.thread import FILE, THREAD
from tests.notebooks import solutions
from tests.notebooks.reading import DETAILS, NOTEBOOKS, called, calls

import nbformat
import pytest

NUMBERS = sorted({piece.notebook for piece in THREAD})


def filled(path):
    notebook = nbformat.read(path, as_version=4)
    solutions.fill(notebook)
    return notebook


def of_the_thread(cell):
    """Whether a cell checks a piece of the thread, or uses what has been kept."""
    checks = {piece.check for piece in THREAD}
    return any(called(call) in {"mine", "receipt"} | checks for call in calls(cell.source))


@pytest.fixture(scope="module")
def worked_through(tmp_path_factory):
    """What each notebook of the thread prints, in clean kernels, solved in order; and the folder of the copy."""
    folder = solutions.place(tmp_path_factory.mktemp("course"))
    said = {}
    for number in NUMBERS:
        (path,) = (path for path in NOTEBOOKS if path.name.startswith(number))
        cells = solutions.needed(filled(path), of_the_thread)
        said[number] = "\n".join(solutions.execute(cells, folder, {"LORA_TEACH_KEEP": "yes"}))
    return said, folder


@pytest.mark.parametrize("number", NUMBERS)
def test_every_check_of_the_thread_passes_and_what_passes_is_kept(worked_through, number):
    said = worked_through[0][number]
    assert solutions.verdicts(said) and set(solutions.verdicts(said)) == {"PASS"}, said
    assert said.count(f"kept in {FILE}.") == sum(piece.notebook == number for piece in THREAD), said


@pytest.mark.parametrize("number", NUMBERS[2:])
def test_from_03_on_the_learners_own_pieces_are_used(worked_through, number):
    told = re.findall(r"^(?:\w+: .+)$", worked_through[0][number], re.MULTILINE)
    told = [part for line in told for part in line.split(" · ") if "yours, from" in part or "the library's" in part]
    assert told and all(f"yours, from {FILE}" in part for part in told), told


def test_the_receipt_counts_a_lora_of_ones_own_and_peft_reads_its_folder(worked_through):
    said, folder = worked_through
    assert f"{len(THREAD)} of {len(THREAD)} pieces are yours" in said["09"]
    lines = int(re.search(r"LoRA in (\d+) lines of your own", said["09"])[1])
    kept = my_file.blocks((folder / FILE).read_text(encoding="utf-8"))
    assert 60 < lines < 100 and lines == sum(my_file.code_lines(text) for _, text, _ in kept.values())
    losses = dict(re.findall(r"^(.+?) +(\d\.\d\d) nats on Zulu test names$", said["09"], re.MULTILINE))
    assert float(losses["yours"]) < float(losses["the base"]) - 1
    assert losses["yours"] == losses["yours, merged"] == losses["yours, read by PEFT"]


@pytest.mark.parametrize("number", NUMBERS)
def test_the_other_folded_solutions_of_these_notebooks_pass(number):
    (path,) = (path for path in NOTEBOOKS if path.name.startswith(number))
    cells = [cell for cell in filled(path).cells if cell.cell_type == "code"]
    space, said = {"__name__": "a notebook"}, io.StringIO()
    exec(cells[0].source.replace("names_demo()", ""), space)
    for cell in cells:
        names = {called(call) for call in calls(cell.source) if called(call).startswith("check_")}
        if names and not names & {piece.check for piece in THREAD}:
            with redirect_stdout(said):
                exec(compile(cell.source, "a cell", "exec"), space)
    assert set(solutions.verdicts(said.getvalue())) <= {"PASS"}, said.getvalue()


def test_without_solutions_the_hints_stay():
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        hints = sum(len(DETAILS.findall(cell.source)) for cell in notebook.cells if cell.cell_type == "markdown")
        count = solutions.strip(notebook)
        text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        assert "Solution</summary>" not in text and len(DETAILS.findall(text)) == hints - count
        assert count == len(re.findall(r"^## Exercise", text, re.MULTILINE))


def test_a_solution_stands_for_the_stub_alone_and_an_unmatched_one_is_refused():
    new = nbformat.v4
    folded = "<details><summary>Solution</summary>\n\n```python\ndef f(x):\n    return x\n```\n\n</details>"
    text = f"## Exercise 1: x\n\n{folded}"
    stub = "before = 1\n\n\ndef f(x):\n    return TODO\n\n\ncheck_f(f)"
    notebook = new.new_notebook(cells=[new.new_markdown_cell(text), new.new_code_cell(stub)])
    assert solutions.fill(notebook) == 1
    assert notebook.cells[1].source == stub.replace("TODO", "x")
    other = new.new_notebook(cells=[new.new_markdown_cell(text), new.new_code_cell("g = TODO\ncheck_g(g)")])
    with pytest.raises(AssertionError, match="defines nothing"):
        solutions.fill(other)


def test_what_a_cell_needs_is_the_set_up_and_what_binds_its_names():
    cell = nbformat.v4.new_code_cell
    sources = ["import math", "import json\nlong = run()", "a = math.pi", "b = 2", "print(a, json)"]
    cells = solutions.needed(nbformat.v4.new_notebook(cells=list(map(cell, sources))), lambda c: "print" in c.source)
    assert [one.source for one in cells] == ["import math", "import json", "a = math.pi", "print(a, json)"]
