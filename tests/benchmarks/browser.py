"""From the key to the painted picture in JupyterLab, for every slider of every notebook; beside it ``interact``.

    python tests/benchmarks/browser.py [--moves 20] [--ours] [NOTEBOOK …]

Each notebook is opened in a JupyterLab of its own on this machine, in Chromium without a window, and all of it is run.
Then each slider is moved by the arrow keys, one place at a time, towards its end and back. The page's own clock runs
from the ``keydown`` event to the moment when the image has loaded its new bytes (its ``load`` event) and the frame that
shows it has been made (``requestAnimationFrame``, and a message after it; a frame comes every 17 ms). The next key is
pressed when the kernel is idle and no picture has come for 150 ms; where a move paints twice, the last picture counts.
Medians with quartiles, in milliseconds, after two moves to warm up. "steps" is how many steps an optimiser takes in a
move, in the median: where it is 0, nothing is trained.

The other way is a cell put at the notebook's end, in which ``interact`` shows the same pictures from the same place on
(tests/benchmarks/slider.py says how), moved and timed in the same way. It comes second, so what a view keeps of its
first visit to a place is to its advantage; where it trains less, there is no ratio. A slider that is not `explore`'s
has no other way.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.slider import by_interact, quartiles, trained
from tests.browser.chromium import chromium
from tests.browser.controls import SLIDER, name_of
from tests.browser.lab import Lab
from tests.browser.page import Opened
from tests.notebooks.reading import NOTEBOOKS

WARM_UP = 2  # moves
# The widgets among the outputs: the cell, the place among its outputs, the model's id.
WIDGETS = """() => {
    const cells = window.jupyterapp.shell.currentWidget.content.model.cells;
    return Array.from({length: cells.length}, (_, at) => cells.get(at)).flatMap((cell, at) =>
        (cell.type === 'code' ? cell.outputs.toJSON() : []).map((output, place) =>
            [at, place, output.data?.['application/vnd.jupyter.widget-view+json']?.model_id]
        )).filter(([at, place, model]) => model);
}"""
# null where two seconds pass, or a minute in which the kernel works, and no picture comes.
CLOCK = """output => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const begun = performance.now();
    let pressed, painted;
    const load = () => requestAnimationFrame(() => {
        const after = new MessageChannel();  // its message comes when the frame has been made
        after.port1.onmessage = () => { painted = performance.now(); };
        after.port2.postMessage(0);
    });
    document.addEventListener('keydown', () => { pressed = performance.now(); }, {capture: true, once: true});
    output.addEventListener('load', load, true);
    window.painted = new Promise(resolve => {
        const look = setInterval(() => {
            const now = performance.now();
            const wait = kernel.status !== 'idle' ? 60000 : painted ? 150 : 2000;
            if (now - (kernel.status !== 'idle' ? begun : painted ?? pressed ?? begun) < wait) return;
            clearInterval(look);
            output.removeEventListener('load', load, true);
            resolve(painted && pressed ? painted - pressed : null);
        }, 20);
    });
}"""
ASK = """async code => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const future = kernel.requestExecute({code, store_history: false});
    let printed = '';
    future.onIOPub = message => { printed += message.content.data?.['text/plain'] ?? message.content.evalue ?? ''; };
    await future.done;
    return printed;
}"""
ADD_CELL = """async code => {
    const app = window.jupyterapp;
    const notebook = app.shell.currentWidget.content;
    const last = notebook.model.cells.length;
    notebook.model.sharedModel.insertCell(last, {cell_type: 'code', source: code, metadata: {trusted: true}});
    notebook.activeCellIndex = last;
    await app.commands.execute('notebook:run-cell');
    return last;
}"""


def other_way(model: str, number: int, moves: int):
    """In the notebook's kernel: an explorer's slider by ``interact``, the nth; None for a widget of another kind."""
    from lora_teach.live import Explorer

    import ipywidgets

    explorer = ipywidgets.widgets.widget._instances[model]
    if not isinstance(explorer, Explorer):
        return None
    name = [name for name, widget in explorer.controls.items() if "Slider" in type(widget).__name__][number]
    widget, start = explorer.controls[name], explorer.limits()[name][1]
    if hasattr(widget, "options"):
        stops = [option[1] if isinstance(option, tuple) else option for option in widget.options]
    else:
        count = round((widget.max - widget.min) / widget.step) + 1
        stops = [type(widget.value)(round(widget.min + step * widget.step, 9)) for step in range(count)]
    here = min(range(len(stops)), key=lambda place: abs(stops[place] - start))
    back_and_forth = itertools.cycle([*range(len(stops) - 2, -1, -1), *range(1, len(stops))])
    way = itertools.chain(range(here, len(stops)), back_and_forth)
    return by_interact(explorer, [{name: stops[place]} for place in itertools.islice(way, moves + 1)])


def call(function, *arguments) -> str:
    """The code that calls one of these functions in the kernel and ends in what it returns."""
    return f"from tests.benchmarks.browser import {function.__name__} as called\ncalled{arguments!r}"


def move(opened: Opened, output, slider, moves: int) -> tuple[list[float], list[int]]:
    """Move a slider to and fro; milliseconds and steps of each move after which there was a new picture."""
    times, steps, key = [], [], "ArrowRight"
    for turn in range(WARM_UP + moves):
        now, low, high = (slider.get_attribute(f"aria-value{which}") for which in ("now", "min", "max"))
        key = {high: "ArrowLeft", low: "ArrowRight"}.get(now, key)
        slider.focus()
        opened.page.evaluate(ASK, call(trained))
        output.evaluate(CLOCK)
        opened.page.keyboard.press(key)
        taken = opened.page.evaluate("() => window.painted")
        if taken is not None and turn >= WARM_UP:
            times.append(taken)
            steps.append(int(opened.page.evaluate(ASK, call(trained))))
    return times, steps


def output_of(opened: Opened, cell: int, place: int):
    """One of the outputs of a cell."""
    return opened.cell(cell).locator(".jp-Cell-outputArea > .jp-OutputArea-child").nth(place)


def by_other_way(opened: Opened, model: str, number: int, moves: int) -> tuple[list[float], list[int]]:
    """Put the other way at the notebook's end and time it; nothing where there is none."""
    index = opened.page.evaluate(ADD_CELL, call(other_way, model, number, moves))
    errors = opened.cells()[index].errors
    if errors:
        print(*errors, file=sys.stderr)
    output = output_of(opened, index, 0)
    if errors or not output.count():
        return [], []
    output.locator("img").wait_for()
    return move(opened, output, output.locator(SLIDER), moves)


def sliders_of(opened: Opened, moves: int, ours: bool):
    """Time each slider of a notebook that has been run; yield its name, our times and steps, and the other way's."""
    for cell, place, model in opened.page.evaluate(WIDGETS):
        output = output_of(opened, cell, place)
        for number, slider in enumerate(output.locator(SLIDER).all()):
            if not slider.is_enabled():
                continue
            timed = move(opened, output, slider, moves)
            other = ([], []) if ours else by_other_way(opened, model, number, moves)
            yield name_of(slider).removeprefix("slider "), *timed, *other


def row(times, steps, other, other_steps) -> str:
    """The figures of one line of the table."""
    shown = [quartiles(some) if len(some) > 1 else "–" for some in (times, other)]
    ratio, trains = "–", "–"
    if times:
        trains = f"{statistics.median(steps):.0f}"
    if times and other and statistics.median(steps) == statistics.median(other_steps):
        ratio = f"{statistics.median(other) / statistics.median(times):.1f}×"
    return f"{shown[0]:>22}{shown[1]:>24}{ratio:>8}{trains:>8}"


def main() -> None:
    """Print one table for all notebooks, a line for each slider as soon as it has been timed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="the beginning of its name, such as 04")
    parser.add_argument("--moves", type=int, default=20, help="of each slider")
    parser.add_argument("--ours", action="store_true", help="leave interact out")
    options = parser.parse_args()
    paths = [path for path in NOTEBOOKS if path.name.startswith(tuple(options.notebooks) or "")]
    print(f"{'notebook':<24}{'slider':<18}{'ours':>22}{'interact':>24}{'ratio':>8}{'steps':>8}")
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        lab = Lab(Path(folder), paths)
        try:
            for path in paths:
                context = browser.new_context()
                opened = Opened(context, lab, path.name)
                opened.run_all()
                for name, *figures in sliders_of(opened, options.moves, options.ours):
                    print(f"{path.stem:<24}{name:<18}{row(*figures)}", flush=True)
                opened.close()
                context.close()
        finally:
            lab.end()


if __name__ == "__main__":
    main()
