"""The browser tests, tried: on a toy notebook they find what moves, what doesn't, what fails and what goes abroad."""

from tests.browser import page
from tests.browser.lab import Lab
from tests.browser.page import Opened
from tests.notebooks import toy

import pytest
from nbformat import v4

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
# A playground: what Train begins goes on when the kernel has long reported that it is idle.
PLAY = """import asyncio


def playground():
    train, stop = ipywidgets.Button(description="Train"), ipywidgets.Button(description="Stop", disabled=True)
    forget = ipywidgets.Button(description="Forget", disabled=True)
    other, words = ipywidgets.Button(description="Other words"), ipywidgets.Label("some")
    trained = ipywidgets.IntProgress(0, 0, 9)
    rank = ipywidgets.IntSlider(3, 0, 5, description="rank")
    picture = shown(rank, trained, draw=lambda rank, steps: (40 * rank, 20 * steps, 9))

    async def work():
        await asyncio.sleep(3)  # longer than a kernel with nothing to do is waited for
        for step in range(1, 6):
            trained.value = step
            await asyncio.sleep(0.3)
        train.disabled, stop.disabled, forget.disabled = False, True, False

    def begin(button):
        global task
        train.disabled, stop.disabled = True, False
        task = asyncio.get_running_loop().create_task(work())

    train.on_click(begin)
    forget.on_click(lambda button: setattr(trained, "value", 0))
    other.on_click(lambda button: setattr(words, "value", "others"))
    return ipywidgets.VBox([forget, train, stop, other, words, picture])


playground()"""
IDLER = """ipywidgets.VBox([
    ipywidgets.Button(description="Idler"), ipywidgets.Button(description="Off", disabled=True), shown(draw=lambda: 0)
])"""
FRAGILE = """from lora_teach.live import explore
from tests.live.toy import OneSlider
explore(OneSlider(), speed=(1, 20, 12))"""  # 13 is refused, 14 breaks the drawing itself
NEVER_ENDS = """def never_ends():
    start, stop = ipywidgets.Button(description="Start"), ipywidgets.Button(description="Stop", disabled=True)
    start.on_click(lambda button: setattr(stop, "disabled", False))
    return ipywidgets.VBox([start, stop])


never_ends()"""
# All the ways in which a page could ask another machine for something, each at an address of its own.
WAYS = {
    "picture.png": "<img src='https://example.org/picture.png'>",
    "style.css": "<link rel='stylesheet' href='https://example.org/style.css'>",
    "import.css": "<style>@import url('https://example.org/import.css');</style>",
    "font.woff2": """<style>@font-face { font-family: abroad; src: url('https://example.org/font.woff2'); }</style>
        <p style="font-family: abroad">words in it</p>""",
    "script.js": "<script src='https://example.org/script.js'></script>",
    "module.js": "<script>import('https://example.org/module.js').catch(() => {})</script>",
    "data.json": "<script>fetch('https://example.org/data.json').catch(() => {})</script>",
    "frame.html": "<iframe src='https://example.org/frame.html'></iframe>",
    "beacon": "<script>navigator.sendBeacon('https://example.org/beacon')</script>",
    "worker.js": """<script>new Worker(URL.createObjectURL(new Blob(["importScripts('https://example.org/worker.js')"])))
        </script>""",
    "socket": "<script>new WebSocket('wss://example.org/socket')</script>",
}
ABROAD = f"import IPython.display\nIPython.display.HTML({chr(10).join(WAYS.values())!r})"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys")
    code = v4.new_code_cell
    filler = [v4.new_markdown_cell("words\n\n" * 60)]  # so that the next cell lies outside the window
    meant = code("1 / 0", metadata={"tags": ["raises-exception"]})
    toy.write(folder / "good.ipynb", [code(VIEW), meant, code(MOVES), *filler, code(LATER), code(STOP)])
    toy.write(folder / "bad.ipynb", [code(VIEW), code(DEAD), code(ABROAD), code(IDLER), code(FRAGILE), code("nothing")])
    toy.write(folder / "playground.ipynb", [code(VIEW), code(PLAY)])
    toy.write(folder / "never.ipynb", [code("import ipywidgets"), code(NEVER_ENDS)])
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
    assert opened.foreign == [] and opened.failed == opened.failures() == []
    opened.close()


def test_what_is_wrong_is_found(lab, context):
    opened = Opened(context, lab, "bad.ipynb")
    cells = opened.run_all()
    assert cells[5].errors == ["NameError: name 'nothing' is not defined"]
    moved, still = opened.move_everything()
    assert moved == ["output 2: slider speed"]
    assert still == ["output 0: slider dead", "output 1: button Idler"]
    assert [report.partition(";")[0] for report in opened.failed] == [
        "This move failed at speed = 13",
        "This move failed at speed = 14",
    ]
    opened.close()


def test_whatever_the_page_asks_of_another_machine_is_noticed(lab, context):
    opened = Opened(context, lab, "bad.ipynb")
    opened.run_all()
    opened.until(lambda: len(set(opened.foreign)) == len(WAYS))
    assert {url.partition("://example.org/")[2] for url in opened.foreign} == set(WAYS)
    opened.close()


def test_what_a_button_begins_is_waited_for(lab, context):
    opened = Opened(context, lab, "playground.ipynb")
    opened.run_all()
    assert opened.move_everything() == (
        [
            "output 0: button Train",
            "output 0: button Other words",
            "output 0: slider rank",
            "output 0: button Forget",
        ],
        [],
    )
    opened.close()


def test_what_a_button_begins_has_to_end(lab, context, monkeypatch):
    opened = Opened(context, lab, "never.ipynb")
    opened.run_all()
    monkeypatch.setattr(page, "SECONDS_TO_RUN", 3)
    monkeypatch.setattr(page, "SECONDS_TO_ANSWER", 3)
    with pytest.raises(AssertionError, match="output 0: button Start: this never ends"):
        opened.move_everything()
    opened.close()


def test_server_ends_with_the_tests(tmp_path):
    lab = Lab(tmp_path, [])
    assert lab.process.poll() is None
    lab.end()
    assert lab.process.poll() is not None
