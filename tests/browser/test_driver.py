"""The browser tests, tried: on a toy notebook they find what moves, what doesn't, what fails and what goes abroad."""

import pytest
from nbformat import v4

from tests.browser.lab import Lab
from tests.browser.page import Opened
from tests.notebooks import toy

pytestmark = pytest.mark.browser

VIEW = """import io
import ipywidgets
from PIL import Image


def shown(*controls, draw):
    image = ipywidgets.Image(format="png")

    def paint(change=None):
        buffer = io.BytesIO()
        Image.new("RGB", (200, 80), draw(*[control.value for control in controls])).save(buffer, "PNG")
        image.value = buffer.getvalue()

    for control in controls:
        control.observe(paint, "value")
    paint()
    return ipywidgets.VBox([*controls, image])
"""
MOVES = """shown(
    ipywidgets.IntSlider(3, 0, 5, description="rank"),
    ipywidgets.FloatSlider(1.0, min=0.0, max=1.0, description="strength"),
    ipywidgets.SelectionSlider(options=[1, 2, 4], description="power"),
    ipywidgets.ToggleButtons(options=["red", "blue"], description="colour"),
    ipywidgets.Checkbox(False, description="dark"),
    ipywidgets.Dropdown(options=["a", "b"], description="letter"),
    draw=lambda rank, strength, power, colour, dark, letter: (
        40 * rank, int(99 * strength) + 5 * power, 200 * (colour == "red") + 20 * dark + 10 * (letter == "a")
    ),
)"""
LATER = """shown(
    ipywidgets.ToggleButtons(options=["red", "blue"], description="colour"),
    ipywidgets.IntSlider(0, 0, 5, description="strength"),
    draw=lambda colour, strength: (40 * strength, 40 * strength * (colour == "red"), 0),
)"""
DEAD = """shown(ipywidgets.IntSlider(3, 0, 5, description="dead"), draw=lambda rank: (9, 9, 9))"""
STOP = """ipywidgets.Button(description="Stop")"""
ABROAD = """import IPython.display
IPython.display.HTML('<img src="https://example.org/picture.png">')"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys")
    code = v4.new_code_cell
    filler = [v4.new_markdown_cell("words\n\n" * 60)]  # so that the next cell lies outside the window
    meant = code("1 / 0", metadata={"tags": ["raises-exception"]})
    toy.write(folder / "good.ipynb", [code(VIEW), meant, code(MOVES), *filler, code(LATER), code(STOP)])
    toy.write(folder / "bad.ipynb", [code(VIEW), code(DEAD), code(ABROAD), code("nothing")])
    lab = Lab(tmp_path_factory.mktemp("lab"), sorted(folder.glob("*.ipynb")))
    yield lab
    lab.end()


def test_everything_that_moves_is_found_and_moved(lab, context, tmp_path):
    opened = Opened(context, lab, "good.ipynb")
    cells = opened.run_all()
    assert [(cell.index, cell.errors) for cell in cells if cell.errors] == [
        (1, ["ZeroDivisionError: division by zero"])
    ]
    assert [cell.count for cell in cells if cell.code] == [1, 2, 3, 4, 5]
    moved, still = opened.move_everything()
    assert still == []
    assert sorted(moved) == [
        "output 0: button blue",
        "output 0: button red",
        "output 0: checkbox dark",
        "output 0: select letter",
        "output 0: slider power",
        "output 0: slider rank",
        "output 0: slider strength",
        "output 1: button blue",
        "output 1: button red",
        "output 1: slider strength",
    ]
    opened.screenshot(tmp_path / "good.png")
    assert (tmp_path / "good.png").stat().st_size > 10_000
    assert opened.foreign == [] and opened.failures() == []
    opened.close()


def test_what_is_wrong_is_found(lab, context):
    opened = Opened(context, lab, "bad.ipynb")
    cells = opened.run_all()
    assert cells[3].errors == ["NameError: name 'nothing' is not defined"]
    assert opened.move_everything() == ([], ["output 0: slider dead"])
    assert set(opened.foreign) == {"https://example.org/picture.png"}
    opened.close()


def test_server_ends_with_the_tests(tmp_path):
    lab = Lab(tmp_path, [])
    assert lab.process.poll() is None
    lab.end()
    assert lab.process.poll() is not None
