"""Every notebook, as a person meets it: opened in JupyterLab, run, and everything on it moved by keyboard."""

from pathlib import Path

from tests.browser.controls import SLIDER
from tests.browser.lab import Lab
from tests.browser.page import Opened
from tests.notebooks.reading import NOTEBOOKS

import pytest

pytestmark = pytest.mark.browser
MANY_SLIDERS = {"playground"}  # a lesson has two sliders in one view at most, a place to play in has all there are
STOPPED = {"07_a_real_language_model"}  # it trains for minutes; its Stop button is pressed early, as a reader may
SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("lab"), NOTEBOOKS)
    yield lab
    lab.end()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_comes_alive(path, lab, context):
    opened = Opened(context, lab, path.name)
    opened.start_all()
    if path.stem in STOPPED:
        opened.press_stop()
    cells = opened.finish_all()
    opened.screenshot(SCREENSHOTS / f"{path.stem}.png")
    errors = {cell.index: cell.errors for cell in cells if cell.errors and "raises-exception" not in cell.tags}
    assert not errors, f"cells that raise in the browser: {errors}"
    unrun = [cell.index for cell in cells if cell.code and not cell.count]
    assert not unrun, f"cells that were not run: {unrun}"

    crowded = [output.locator(SLIDER).count() for output in opened.outputs()]
    few = all(sliders <= 2 for sliders in crowded)
    assert few or path.stem in MANY_SLIDERS, f"more than two sliders in one output: {crowded}"
    moved, still = opened.move_everything()
    opened.screenshot(SCREENSHOTS / f"{path.stem}_moved.png")
    print(f"{path.name}: moved {len(moved)} controls: {'; '.join(moved)}")
    assert opened.failed + opened.failures() == []
    assert not still, f"moving these changes no picture: {still}"
    assert opened.foreign == [], "the page asked for something outside this machine"
    opened.close()
