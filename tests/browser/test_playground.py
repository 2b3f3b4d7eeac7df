"""The playground stays alive while it trains: begun by its button, and begun by a cell that awaits it."""

import re

from tests.browser.controls import SLIDER, look
from tests.browser.lab import Lab
from tests.browser.page import Opened
from tests.live.toy import answered_while_running
from tests.notebooks import toy

import pytest
from nbformat import v4

pytestmark = pytest.mark.browser
STEPS = 2000  # of names: a minute or more, if nobody stopped it
CELLS = [
    f"from lora_teach.pictures.playground import Playground\nplay = Playground(material='Zulu', steps={STEPS})\nplay",
    "print(len(play.runs), all(run.history.stopped for run in play.runs))",
    "run = await play.train()",
    "print(len(play.runs), run.history.stopped, play.settings.rank)",
]
SHOWN, AFTER_BUTTON, BY_CELL, AFTER_CELL = range(4)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys")
    toy.write(folder / "play.ipynb", [v4.new_code_cell(cell) for cell in CELLS])
    lab = Lab(tmp_path_factory.mktemp("lab"), [folder / "play.ipynb"])
    yield lab
    lab.end()


def button(output, text):
    return output.locator("button.widget-button").filter(has_text=re.compile(rf"^\s*{text}\s*$"))


def run_cell(opened, index):
    opened.page.evaluate(
        """async index => {
            const app = window.jupyterapp;
            app.shell.currentWidget.content.activeCellIndex = index;
            app.commands.execute('notebook:run-cell');
        }""",
        index,
    )


def moves_while_it_trains(opened, output, key):
    """The picture moves on by itself, and the slider of the rank is followed by the line over the bar."""
    before = look(output)
    assert opened.until(lambda: look(output) != before), "the curve stands still"
    rank = output.locator(SLIDER).first
    shown = rank.locator("xpath=ancestor::*[contains(@class, 'widget-hslider')]")
    was = shown.inner_text()
    opened.hold(rank, key, 3)
    assert opened.until(lambda: shown.inner_text() != was)
    assert button(output, "Stop").is_enabled(), "it ended too soon"
    button(output, "Stop").press("Enter")
    assert opened.until(lambda: button(output, "Train").is_enabled()), "Stop is not answered"


@answered_while_running
def test_controls_and_stop_answer_while_the_button_and_while_a_cell_trains(lab, context):
    opened = Opened(context, lab, "play.ipynb")
    run_cell(opened, SHOWN)
    output = opened.cell(SHOWN).locator(".jp-OutputArea-child").filter(has=opened.page.locator(SLIDER))
    output.first.wait_for()
    assert button(output, "Train").is_enabled() and button(output, "Stop").is_disabled()

    button(output, "Train").press("Enter")
    assert opened.until(lambda: button(output, "Stop").is_enabled())
    assert button(output, "Train").is_disabled()
    moves_while_it_trains(opened, output, "ArrowRight")
    run_cell(opened, AFTER_BUTTON)
    assert opened.until(lambda: opened.cells()[AFTER_BUTTON].text == "1 True\n")

    run_cell(opened, BY_CELL)
    assert opened.until(lambda: button(output, "Stop").is_enabled())
    run_cell(opened, AFTER_CELL)  # waits for its turn
    moves_while_it_trains(opened, output, "ArrowLeft")
    assert opened.until(lambda: opened.cells()[AFTER_CELL].text)
    assert re.fullmatch(rf"2 stopped after step \d+ of {STEPS} 4\n", opened.cells()[AFTER_CELL].text)
    assert f" of {STEPS}" in output.inner_text() and opened.failures() == []
    opened.close()
