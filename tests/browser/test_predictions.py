"""A prediction stays open: the saved answer is folded when the notebook is opened, and there once the cell has run."""

from tests.browser.lab import Lab
from tests.browser.page import Opened
from tests.notebooks import save, toy

import nbformat
import pytest

pytestmark = pytest.mark.browser
FOLDED = """() => window.jupyterapp.shell.currentWidget.content.widgets
    .filter(cell => cell.model.type === 'code').map(cell => cell.outputHidden)"""
RUN_CELL = """async index => {
    const app = window.jupyterapp;
    app.shell.currentWidget.content.activeCellIndex = index;
    await app.commands.execute('notebook:run-cell');
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys")
    answer = nbformat.v4.new_code_cell("guess = None\nprint('the answer')")
    toy.write(folder / "fold.ipynb", [nbformat.v4.new_code_cell("print('before')"), answer])
    save.save(folder / "fold.ipynb")
    lab = Lab(tmp_path_factory.mktemp("lab"), [folder / "fold.ipynb"])
    yield lab
    lab.end()


def test_answer_is_folded_until_the_cell_is_run(lab, context):
    opened = Opened(context, lab, "fold.ipynb")
    answer = opened.page.get_by_text("the answer", exact=True)
    assert opened.page.evaluate(FOLDED) == [False, True]
    assert answer.count() == 0, "it can be read beside the dots"
    opened.page.evaluate(RUN_CELL, 1)
    assert opened.until(lambda: answer.count() == 1 and answer.is_visible())
    assert opened.page.evaluate(FOLDED) == [False, False]
    opened.close()
