"""What the live parts promise, tried where it is promised: in a page of JupyterLab, with a keyboard."""

from tests.browser.controls import SLIDER, look
from tests.browser.lab import Lab
from tests.browser.page import Opened
from tests.live.toy import answered_while_running
from tests.notebooks import toy

import pytest
from nbformat import v4

pytestmark = pytest.mark.browser

MOVES = [
    """from lora_teach.live import explore
from tests.live.toy import OneSlider


def moved(start, speed):
    explorer = explore(OneSlider(), speed=(20, 220, start))
    explorer.move(speed=speed)
    return explorer""",
    "moved(20, 20)",
    "moved(200, 200)",
    "moved(20, 120)  # where the first one will be",
    "moved(200, 100)  # where the second one will be",
    "explore(OneSlider(), speed=(1, 20, 12))  # 13 is refused, 14 breaks the drawing itself",
    "explore(OneSlider(), speed=(1, 20, 15))",
]
FIRST, SECOND, FIRST_MOVED, SECOND_MOVED, FRAGILE, RECOVERED = range(1, 7)

TRAINS = [
    f"""import torch
from lora_teach import train
from lora_teach.live import explore, train_live
from tests.live.toy import OneSlider

batches = [(x, x.sum(1, keepdim=True)) for x in torch.randn(20, 8, 6).unbind()]
loss_fn = torch.nn.functional.mse_loss
{MOVES[0].partition("from tests.live.toy import OneSlider")[2]}

def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Dropout(0.1), torch.nn.Linear(16, 1))""",
    "moved(20, 20)",
    "history = await train_live(network(), batches, loss_fn, steps=10**7)",
    "print(len(history), history.stopped)",
    """alone = train(network(), batches, loss_fn, steps=len(history), progress=False)
print(alone.loss == history.loss)""",
    "moved(20, 50)",
]
EXPLORED, TRAINED, LENGTH, SAME, MOVED_THERE = range(1, 6)
# The time from the next key to the end of a cell, by the page's own clock.
CLOCK = """index => {
    const cell = window.jupyterapp.shell.currentWidget.content.model.cells.get(index);
    window.ended = new Promise(resolve => document.addEventListener('keydown', event => {
        const pressed = performance.now();
        const look = () => cell.executionCount === null
            ? requestAnimationFrame(look) : resolve((performance.now() - pressed) / 1000);
        look();
    }, {capture: true, once: true}));
}"""
LIMIT = 60  # seconds after which a cell that should have ended is given up
ENDED = f"() => Promise.race([window.ended, new Promise(resolve => setTimeout(resolve, 1000 * {LIMIT}, null))])"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys")
    for name, cells in (("moves", MOVES), ("trains", TRAINS)):
        toy.write(folder / f"{name}.ipynb", [v4.new_code_cell(cell) for cell in cells])
    lab = Lab(tmp_path_factory.mktemp("lab"), sorted(folder.glob("*.ipynb")))
    yield lab
    lab.end()


@pytest.fixture
def moves(lab, context):
    """The notebook of explorers, run."""
    opened = Opened(context, lab, "moves.ipynb")
    assert not [cell.errors for cell in opened.run_all() if cell.errors]
    yield opened
    opened.close()


@pytest.fixture
def trains(lab, context):
    """The notebook that trains: training, its other cells waiting behind it."""
    opened = Opened(context, lab, "trains.ipynb")
    opened.start_all()
    stop_button(opened).wait_for()
    yield opened
    opened.close()


def slider(opened, index):
    return opened.cell(index).locator(SLIDER)


def stop_button(opened):
    return opened.cell(TRAINED).get_by_role("button", name="Stop")


def stop(opened):
    """Press Stop; return the seconds until the cell had ended, None if it went on."""
    opened.page.evaluate(CLOCK, TRAINED)
    stop_button(opened).press("Enter")
    return opened.page.evaluate(ENDED)


def says(opened, index, text):
    """Tell whether a cell comes to show a text, where a person sees it: not in what is folded away."""
    return opened.until(lambda: text in opened.cell(index).inner_text())


def assert_looks_like(opened, index, other):
    """What is painted in one cell is, byte by byte, what is painted in another."""
    opened.until(lambda: look(opened.cell(index)) == look(opened.cell(other)))
    opened.page.wait_for_timeout(500)  # a move that was forgotten somewhere may still come
    opened.wait_until_idle()
    images = opened.cell(index).locator("img")
    assert images.evaluate_all("images => images.map(image => image.complete && image.naturalWidth > 100)") == [True]
    assert look(opened.cell(index)) == look(opened.cell(other))


@answered_while_running
def test_stop_ends_a_training_and_the_next_cell_sees_the_shorter_history(trains):
    assert trains.until(lambda: "step 0 of" not in trains.cell(TRAINED).inner_text())  # it is on its way
    seconds = stop(trains)
    assert seconds is not None, f"the cell still ran {LIMIT} s after Stop was pressed"
    print(f"Stop to the cell's end: {seconds:.2f} s")
    cells = trains.finish_all()
    assert not [cell.errors for cell in cells if cell.errors]
    steps = int(cells[LENGTH].text.split()[0])
    assert 0 < steps < 10**7
    assert cells[LENGTH].text == f"{steps} stopped after step {steps} of 10000000\n"
    assert cells[TRAINED].text.startswith(f"Ended after {steps} of 10000000 steps: the loss went from ")
    assert trains.cell(TRAINED).locator("img").is_visible() and not stop_button(trains).count()


def test_a_key_held_for_a_hundred_moves_ends_on_the_picture_of_the_last(moves):
    before = look(moves.cell(FIRST))
    moves.hold(slider(moves, FIRST), "ArrowRight", 100)
    assert says(moves, FIRST, "At speed 120 the height is 1.00.")
    assert slider(moves, FIRST).get_attribute("aria-valuenow") == "120.0"
    assert_looks_like(moves, FIRST, FIRST_MOVED)
    assert look(moves.cell(FIRST)) != before


def test_two_explorers_moved_at_once_both_end_where_they_should(moves):
    for _ in range(20):  # nothing is waited for in between
        moves.hold(slider(moves, FIRST), "ArrowRight", 5)
        moves.hold(slider(moves, SECOND), "ArrowLeft", 5)
    assert says(moves, FIRST, "At speed 120 the height is 1.00.")
    assert says(moves, SECOND, "At speed 100 the height is 1.00.")
    assert_looks_like(moves, FIRST, FIRST_MOVED)
    assert_looks_like(moves, SECOND, SECOND_MOVED)
    assert look(moves.cell(FIRST)) != look(moves.cell(SECOND))


@answered_while_running
def test_a_slider_moved_during_a_training_is_painted_during_it_and_changes_no_loss(trains):
    before = look(trains.cell(EXPLORED))
    for _ in range(3):  # a slider that is not answered speaks once and never again
        trains.hold(slider(trains, EXPLORED), "ArrowRight", 10)
        trains.page.wait_for_timeout(300)
    assert says(trains, EXPLORED, "At speed 50 the height is 1.00.")
    assert trains.until(lambda: look(trains.cell(EXPLORED)) != before)
    painted = look(trains.cell(EXPLORED))
    assert trains.cells()[TRAINED].count is None, "the training was over before the slider was looked at"
    assert stop(trains) is not None
    cells = trains.finish_all()
    assert not [cell.errors for cell in cells if cell.errors]
    assert painted == look(trains.cell(MOVED_THERE))
    assert_looks_like(trains, EXPLORED, MOVED_THERE)
    assert cells[SAME].text == "True\n"


def test_what_a_view_raises_is_read_on_the_page_and_the_next_move_recovers(moves):
    handle, before = slider(moves, FRAGILE), look(moves.cell(FRAGILE))
    handle.press("ArrowRight")
    assert says(moves, FRAGILE, "ValueError: speed=13 brings bad luck: use <12> or less.")
    (report,) = moves.failures()
    assert report.startswith("This move failed at speed = 13; the picture shows the last one that worked.")
    assert look(moves.cell(FRAGILE)) == before
    handle.press("ArrowRight")
    assert says(moves, FRAGILE, "This move failed at speed = 14")
    handle.press("ArrowRight")
    assert says(moves, FRAGILE, "At speed 15 the height is 1.00.")
    assert_looks_like(moves, FRAGILE, RECOVERED)
    assert moves.failures() == []
