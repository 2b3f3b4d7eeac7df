"""Each notebook keeps the rules of accessibility.py; and each rule, tried, notices what it is there for."""

from tests.notebooks import accessibility
from tests.notebooks.accessibility import RULES
from tests.notebooks.reading import NOTEBOOKS, Lesson

import nbformat
import pytest
from nbformat import v4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_accessibility(path, rule):
    problems = [f"{path.name}: {problem}" for problem in rule(Lesson(path))]
    assert not problems, "\n".join(problems)


def lesson(folder, *texts, code=(), plain=None):
    cells = [v4.new_markdown_cell(text) for text in texts] + [v4.new_code_cell(source) for source in code]
    if plain is not None:
        shown = v4.new_output("display_data", {"image/png": "", "text/plain": plain})
        cells.append(v4.new_code_cell("show", outputs=[shown]))
    nbformat.write(v4.new_notebook(cells=cells), folder / "99_toy.ipynb")
    return Lesson(folder / "99_toy.ipynb")


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("headings_go_down_step_by_step", "# A\n\n## B\n\n### C\n\n## D", "# A\n\n### C"),
        ("headings_go_down_step_by_step", "# A\n\n```\n# \n```", "# A\n\n## \n"),
        ("headings_differ", "# A\n\n## B", "# A\n\n## B\n\n## b"),
        ("pictures_have_words", "![Two lines that meet at 3](a.png)", "![](a.png)"),
        ("pictures_have_words", '<img src="a.png" alt="Two lines">', '<img src="a.png">'),
        ("links_say_where_they_lead", "[the *paper*](https://a.b)", "see [here](https://a.b)"),
        ("links_say_where_they_lead", "[01 Low rank](a.ipynb)", "[https://a.b](https://a.b)"),
        ("tables_have_headers", "| | a |\n|---|---:|\n| b | 1 |", "| a | | c |\n|---|---|---|\n| b | 1 | 2 |"),
    ],
)
def test_a_rule_notices_what_it_is_there_for(rule, good, bad, tmp_path):
    rule = getattr(accessibility, rule)
    assert list(rule(lesson(tmp_path, good))) == []
    assert len(list(rule(lesson(tmp_path, bad)))) == 1


def test_a_picture_without_a_sentence_and_a_colour_of_ones_own_are_noticed(tmp_path):
    silent = lesson(tmp_path, plain="<Figure size 640x480 with 1 Axes>")
    assert len(list(accessibility.pictures_have_words(silent))) == 1
    assert list(accessibility.pictures_have_words(lesson(tmp_path, plain="Rank 4 loses 3 % of it."))) == []
    painted = lesson(tmp_path, code=["axes.plot(x, y, color='red')"])
    assert len(list(accessibility.colours_are_not_the_only_cue(painted))) == 1
    assert list(accessibility.colours_are_not_the_only_cue(lesson(tmp_path, code=["axes.plot(x, y)"]))) == []
