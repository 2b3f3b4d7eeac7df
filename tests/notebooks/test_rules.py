"""The rules for notebooks, tried: a good toy notebook passes them all, and each way to break it is named."""

import base64
import io

from tests.notebooks import anatomy, hygiene, toy
from tests.notebooks.notation import links_to_the_notation
from tests.notebooks.reading import Lesson
from tests.notebooks.save import render

import nbformat
import pytest
from PIL import Image

RULES = {rule.__name__: rule for rule in [*anatomy.RULES, *hygiene.RULES]}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_good_notebook_passes(rule, good):
    assert list(rule(Lesson(good))) == []


def source(index, old, new):
    """Break a cell's text."""

    def change(cells):
        assert old in cells[index].source
        cells[index].source = cells[index].source.replace(old, new)

    return change


def output(index, **data):
    """Give a cell one output in place of its own."""
    data = {mime.replace("_", "/", 1): text for mime, text in data.items()}
    return lambda cells: cells[index].update(outputs=[nbformat.v4.new_output("display_data", data)])


def stream(index, text, name="stdout"):
    return lambda cells: cells[index].update(outputs=[nbformat.v4.new_output("stream", name=name, text=text)])


def error(cells):
    cells[3].outputs.append(
        nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=["ValueError: no"])
    )


def tag(index, *tags):
    return lambda cells: cells[index].metadata.update(tags=list(tags))


def unfold(cells):
    del cells[3].metadata["jupyter"]


def insert(index, text, kind="code"):
    new = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}[kind]
    return lambda cells: cells.insert(index, new(text, id=f"inserted-{len(cells)}"))


def both(*changes):
    return lambda cells: [change(cells) for change in changes]


def png(width, height, colour):
    buffer = io.BytesIO()
    Image.new("RGBA", (width, height), colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


WHITE, THIN = (255, 255, 255, 255), (255, 255, 255, 0)
LINE = "The line goes up, as everybody said it would."
BREAKS = [
    ("title_is_a_question", source(0, "?", "."), "the title as a question"),
    ("title_is_a_question", source(4, "## Exercise", "# Exercise"), "cell 4: a second H1"),
    ("card_says_what_it_takes", source(0, "\n\n**Read", "\n**Read"), "stands a card of two lines; it has 1"),
    ("card_says_what_it_takes", source(0, "\\\n", "\n"), "ends in a backslash"),
    ("card_says_what_it_takes", source(0, "2 min", "26 min"), "N from 1 to 25; it says '26 min'"),
    ("card_says_what_it_takes", source(0, "10 min", "9 min"), "N from 10 to 25; it says '9 min'"),
    ("card_says_what_it_takes", source(0, "in** 5 s", "in** 61 s"), "at most 60 s; it says '61 s'"),
    ("card_says_what_it_takes", source(0, "in** 5 s", "in** 2 min"), "at most 60 s; it says '2 min'"),
    ("card_says_what_it_takes", source(0, "**Needs** nothing · ", ""), "lacks **Needs**"),
    ("card_says_what_it_takes", source(0, "layer.py)", "nothing.py)"), "a file that exists under ../lora_teach/"),
    ("reading_time_follows_from_the_text", source(0, "2 min", "3 min"), "it takes 2 min to read; the card has '3 min'"),
    ("reading_time_follows_from_the_text", insert(2, "word " * 300, "markdown"), "it takes 4 min to read"),
    ("reading_time_follows_from_the_text", insert(4, "view = explore(Toy())"), "it takes 3 min to read"),
    ("reading_time_follows_from_the_text", source(5, "TODO", "explore(TODO)"), None),
    ("card_leads_on", source(0, "01_before", "00_start"), "`previous: […](01_before.ipynb)`; it has 00_start.ipynb"),
    ("card_leads_on", source(0, "next:", "then:"), "`next: […](03_after.ipynb)`; it has none"),
    ("card_leads_on", source(0, "[contents]", "[map]"), "[contents](00_start.ipynb)"),
    ("one_set_up_cell", source(1, "\n", "\n\n\n\n"), "the set-up cell has 9 lines; at most 8"),
    ("one_set_up_cell", source(1, toy.SET_UP, "x = 1"), "imports what the notebook needs"),
    ("one_set_up_cell", insert(4, "import torch\nfrom math import pi"), "cell 4: a second set-up cell"),
    ("predictions_are_asked_for", source(3, "guess = None", "g = 1"), "0 cells have a line `guess = None`"),
    ("predictions_are_asked_for", both(*[insert(4, "guess = None")] * 3), "4 cells have a line `guess = None`"),
    ("predictions_are_asked_for", source(2, "Predict", "Now"), "cell 3: the Markdown above a guess asks for it"),
    ("predictions_are_asked_for", source(2, "?", "."), "cell 3: the Markdown above a guess asks for it"),
    ("predictions_are_asked_for", stream(3, "no picture"), "cell 3: no picture in it or below it"),
    ("predictions_stay_open", unfold, "cell 3: its output answers a prediction and is not folded"),
    ("predictions_stay_open", lambda cells: cells[3].outputs.pop(0), "cell 3: its output answers a prediction"),
    ("predictions_stay_open", insert(4, "print()"), None),
    ("predictions_stay_open", both(insert(4, "print()"), stream(4, "the answer")), "cell 4: its output answers"),
    ("predictions_stay_open", both(source(3, "guess = None", "g = 1"), unfold), None),
    ("exercises_are_complete", source(4, "## Exercise 1", "## Work"), "there is no exercise"),
    ("exercises_are_complete", source(4, " (★★★, 10 min)", ""), "the heading ends in (N min)"),
    ("exercises_are_complete", source(4, "10 min)", "12 min)"), "add up to 12; the card says 10 min"),
    ("exercises_are_complete", insert(6, "check_double(double)"), "2 cells in it call a check_…; one is enough"),
    ("exercises_are_complete", source(5, "TODO", "2 * x"), "has a stub that returns TODO"),
    ("exercises_are_complete", source(5, "\n\ncheck_double(double)", ""), "calls a check_…"),
    ("exercises_are_complete", stream(5, "PASS: right"), "printed no TODO"),
    ("exercises_are_complete", stream(5, "TODO: a\nNOT YET: b"), "published with NOT YET"),
    (
        "exercises_are_complete",
        both(source(4, "Hint: what<", "Help<"), source(4, "Hint: how<", "Help<")),
        "folded are ['Help', 'Help', 'Sol",
    ),
    ("exercises_are_complete", source(4, "Solution<", "Hint<"), "folded are ['Hint', 'Hint', 'Hint']"),
    ("exercises_are_complete", source(4, "how</summary>\n", "how</summary>"), "blank line after </summary>"),
    ("exercises_have_stars_and_minutes", source(4, "(★★★, ", "("), "ends in one to three stars and the minutes"),
    ("exercises_have_stars_and_minutes", source(4, "★★★", "★★★★"), "ends in one to three stars and the minutes"),
    ("exercises_have_stars_and_minutes", source(4, "★★★", "★★"), "2 stars and a solution of 4 lines make 8 min"),
    ("exercises_have_stars_and_minutes", source(4, "total += x", "total += x\n    del x"), "of 5 lines make 11 min"),
    ("exercises_have_stars_and_minutes", source(4, "# It is", "# Behold:\n\n    # it is"), None),
    ("exercises_have_two_hints", source(4, "Hint: how<", "Hint<"), "it has 2, of which 1 say what about"),
    ("exercises_have_two_hints", source(4, "Hint: how<", "Help<"), "it has 1, of which 1 say what about"),
    (
        "wrong_guess_is_answered",
        source(4, "The usual guess is right.\n\n", ""),
        "cell 3: a sentence follows the answer",
    ),
    ("wrong_guess_is_answered", both(insert(4, "print()"), insert(5, "| a | b |", "markdown")), "cell 3: a sentence"),
    ("recap_has_sentences_to_remember", source(6, "- That is all.", ""), "a list of 3 sentences to remember"),
    ("recap_has_sentences_to_remember", source(6, "small.", "small"), "a list of 3 sentences to remember"),
    ("recap_has_sentences_to_remember", source(6, "small.", "small,\n  that much we know."), None),
    ("one_notation", insert(2, "the ideal update ΔW*", "markdown"), "cell 2: 'ΔW*': ΔW is (out, in)"),
    ("one_notation", insert(2, r"$x\Delta W^\top$", "markdown"), "ΔW is (out, in)"),
    ("one_notation", insert(2, "small in delta W, or dW", "markdown"), "write ΔW"),
    ("one_notation", insert(2, r"with $\gamma$", "markdown"), "the scaling is s"),
    ("one_notation", insert(2, r"$\lambda = \frac{\alpha}{r}$", "markdown"), "the scaling is s"),
    ("one_notation", insert(2, "it adds B A x", "markdown"), "the course writes x A B"),
    ("one_notation", insert(2, r"$W_\text{base}$", "markdown"), "the frozen weight is W₀"),
    ("one_notation", insert(2, r"$\Delta W = s\,(AB)^\top$, λ = 16, `delta_weight()`", "markdown"), None),
    ("one_notation", insert(2, "| here | the paper |\n|---|---|\n| x A B | B A x |", "markdown"), None),
    ("ends_in_recap_and_references", source(6, "Recap", "Summary"), "they are ['Summary', 'References']"),
    ("ends_in_recap_and_references", insert(9, "## More", "markdown"), "the last H2 headings"),
    ("ends_in_recap_and_references", stream(7, "one\ntwo"), "printed are ['one', 'two']"),
    ("ends_in_recap_and_references", stream(7, "no\nnumber\nhere"), "three lines with this run's numbers"),
    ("ends_in_recap_and_references", source(8, "- Nobody", "Nobody"), "under References stands a list"),
    ("stays_within_limits", insert(2, "word " * 1500, "markdown"), "1561 words of prose; at most 1500"),
    ("stays_within_limits", insert(2, f"```\n{'word ' * 1500}\n```\n$x {'y ' * 1500}$", "markdown"), None),
    ("stays_within_limits", source(4, "Multiply.", "word " * 1500), None),
    ("stays_within_limits", source(8, "Nobody", "word " * 1500), None),
    ("stays_within_limits", source(5, "\n\n", "\n" * 20), "cell 5: 46 lines; at most 25"),
    ("stays_within_limits", source(3, "show(", "explore(a=(1, 2), b=[1, 2], c=range(3), d=["), None),
    (
        "stays_within_limits",
        insert(4, "view = explore(v, a=(1, 2), b=[1, 2], c=([1, 2], 1), d=['x', 'y'], e=True, f=(['x'], 'x'))"),
        "cell 4: explore() has the sliders ['a', 'b', 'c']; at most 2",
    ),
    ("saved_by_the_script", source(0, "A toy", "A toy\n\n\n"), None),
    ("saved_by_the_script", lambda cells: cells[3].metadata.update(collapsed=True), "not as save.py writes it"),
    ("saved_by_the_script", output(7, **{"text_plain": "x", "image_png": "x"}), None),
    (
        "saved_by_the_script",
        output(3, **{"application_vnd.jupyter.widget-view+json": {}, "text_plain": "IntSlider(value=0)"}),
        "shows a bare widget (IntSlider)",
    ),
    ("executed_in_order", insert(4, "x = 1"), "the execution counts are [1, 2, None, 3, 4]"),
    ("errors_are_meant", error, "cell 3: shows ValueError without the tag"),
    ("errors_are_meant", tag(3, "raises-exception"), "cell 3: is tagged raises-exception and shows no error"),
    ("errors_are_meant", both(error, tag(3, "raises-exception")), None),
    ("errors_are_meant", stream(3, "a warning", "stderr"), "cell 3: has output on stderr"),
    ("errors_are_meant", tag(3, "hide"), "unknown tags ['hide']"),
    ("errors_are_meant", source(3, "guess", "# NBVAL_SKIP\nguess"), "in place of the comment"),
    ("errors_are_meant", tag(3, "nbval-ignore-output"), "so it asserts what the text claims"),
    ("errors_are_meant", both(tag(3, "nbval-ignore-output"), source(3, "axes.", "assert axes\naxes.")), None),
    ("pictures_can_be_read", output(3, image_png=png(40, 30, THIN), text_plain=LINE), "transparent in places"),
    ("pictures_can_be_read", output(3, image_png=png(1201, 30, WHITE), text_plain=LINE), "is 1201 px wide"),
    ("pictures_can_be_read", output(3, image_png=png(40, 30, WHITE)), "text/plain is '', not a sentence"),
    (
        "pictures_can_be_read",
        output(3, image_png=png(40, 30, WHITE), text_plain="<Figure size 40x30 with 1 Axes>"),
        "not a sentence of four words or more",
    ),
    ("pictures_can_be_read", output(3, image_png=png(400, 300, WHITE), text_plain=LINE), "sentence can't be seen"),
    (
        "pictures_can_be_read",
        both(
            output(3, image_png=png(400, 300, WHITE), text_plain=LINE),
            lambda cells: cells[3].outputs.append(
                nbformat.v4.new_output("display_data", {"text/markdown": f"*{LINE}*", "text/plain": "…"})
            ),
        ),
        None,
    ),
    ("nothing_of_a_machine", stream(7, "read /home/me/file"), "cell 7: its output has a path"),
    ("nothing_of_a_machine", stream(7, "<object at 0x7f8e1c2b>"), "cell 7: its output has a path or an address"),
    ("nothing_of_a_machine", source(1, "TODO", "TODO  # C:\\here"), "cell 1: its source has a path"),
    ("nothing_of_a_machine", source(0, "A toy", "https://example.org/home/x and 7/8: a toy"), None),
    ("small_and_connected", insert(2, "x" * 500_000, "markdown"), "KB; at most 500"),
    ("small_and_connected", source(0, "A toy", "[A toy](99.ipynb)"), "links to 99.ipynb, which does not exist"),
    ("small_and_connected", source(0, "A toy", "[A toy](00_start.ipynb#No)"), "the headings there are ['So?']"),
    ("small_and_connected", source(0, "A toy", "[A toy](00_start.ipynb#So?) [b](https://example.org)"), None),
    ("small_and_connected", source(0, "A toy", "![](02_toy.ipynb)"), "an image has no text"),
]


@pytest.mark.parametrize(("rule", "change", "words"), BREAKS, ids=[f"{b[0]}-{n}" for n, b in enumerate(BREAKS)])
def test_broken_notebook_is_named(rule, change, words, good, tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for neighbour in good.parent.iterdir():
        (folder / neighbour.name).write_bytes(neighbour.read_bytes())
    (tmp_path / "lora_teach").symlink_to(good.parents[1] / "lora_teach")
    path = folder / good.name
    notebook = nbformat.read(path, as_version=4)
    change(notebook.cells)
    path.write_text(render(notebook), encoding="utf-8")
    problems = list(RULES[rule](Lesson(path)))
    if words is None:
        assert problems == []
    else:
        assert any(words in problem for problem in problems), problems


def test_playground_needs_no_lesson_but_keeps_the_other_rules(good):
    path = good.with_name("playground.ipynb")
    card = "**Read** 1 min · **Needs** nothing · **Runs in** 5 s · **Library** [layer.py](../lora_teach/layer.py)"
    words = nbformat.v4.new_markdown_cell(f"# And then?\n\n{card}\\\n[contents](00_start.ipynb)")
    toy.write(path, [words, nbformat.v4.new_code_cell("import math\nmath.pi")])
    assert [problem for rule in anatomy.RULES for problem in rule(Lesson(path))] == []
    toy.write(path, [words, nbformat.v4.new_markdown_cell("word " * 400), nbformat.v4.new_code_cell("math = 1")])
    problems = [problem for rule in anatomy.RULES for problem in rule(Lesson(path))]
    assert any("at most 400" in problem for problem in problems) and any("imports what" in p for p in problems)


def start(tmp_path, cells):
    path = tmp_path / "00_start.ipynb"
    toy.write(path, cells)
    return list(anatomy.start_shows_before_it_asks(Lesson(path)))


def test_start_shows_a_picture_and_the_demonstration_first(tmp_path):
    picture = nbformat.v4.new_markdown_cell("# What?\n\n![Names that change](picture.png)")
    demo = nbformat.v4.new_code_cell("from lora_teach.pictures.morph import names_demo\nnames_demo()")
    assert start(tmp_path, [picture, demo]) == []
    assert "above the first code cell" in start(tmp_path, [demo, picture])[0]
    assert "calls names_demo()" in start(tmp_path, [picture, nbformat.v4.new_code_cell("x = 1")])[0]


def test_notation_is_linked_to_from_its_table_on(tmp_path):
    def problems(name, text):
        toy.write(tmp_path / name, [nbformat.v4.new_markdown_cell(text)])
        return list(links_to_the_notation(Lesson(tmp_path / name)))

    link = "[notation](02_the_lora_layer.ipynb#Notation)"
    assert "lacks the heading ## Notation" in problems("02_the_lora_layer.ipynb", "# So?")[0]
    assert problems("02_the_lora_layer.ipynb", "# So?\n\n## Notation") == []
    assert "[notation](02_the_lora_layer.ipynb#Notation)" in problems("05_x.ipynb", "# So?")[0]
    assert problems("05_x.ipynb", f"<details><summary>Hint: x</summary>\n\n{link}</details>") != []
    assert problems("05_x.ipynb", f"# So?\n\n{link}") == [] == problems("01_x.ipynb", "# So?")
    assert problems("playground.ipynb", "# So?") == []
