"""What one move of a slider costs the kernel: ours, and the same picture by ``interact`` and a new figure.

    python tests/benchmarks/slider.py [VIEW …]

For each view of the course, in one kernel and alternating, so that a busy machine slows both: the time from the
slider's new value to the picture being on its way to the page. Medians with quartiles, in milliseconds. "numbers" is
the part that the view computes (it trains, samples, counts), the same for both; "ratio" is of the whole move,
"drawing" of the rest.

The other way makes a new figure of the same content at every move (it is unpickled, which takes no longer than building
it) and shows it in ``interact``'s output, where the inline backend renders it with ``bbox_inches="tight"``.
"""

import argparse
import ast
import itertools
import pickle
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOVES = 40  # of each way
BUDGET = 40.0  # seconds for one view


def timed(action, *arguments, **options) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    action(*arguments, **options)
    return 1000 * (time.perf_counter() - started)


class Clocked:
    """A view that notes how long its last move took."""

    def __init__(self, view):
        self.view, self.picture, self.taken = view, view.picture, 0.0

    def move(self, **values) -> str:
        started = time.perf_counter()
        sentence = self.view.move(**values)
        self.taken = 1000 * (time.perf_counter() - started)
        return sentence


def places(explorer) -> list[dict]:
    """Where to move: the first slider to and fro over its range; where there is none, between the first's choices."""
    controls = explorer.controls.items()
    sliders = [name for name, widget in controls if hasattr(widget, "step") or "Slider" in type(widget).__name__]
    name = (sliders or list(explorer.controls))[0]
    widget, stops = explorer.controls[name], explorer.limits()[name]
    if hasattr(widget, "step"):
        stops = [widget.min + round(i * (widget.max - widget.min) / 9 / widget.step) * widget.step for i in range(10)]
        stops = [type(widget.value)(stop) for stop in stops]
    stops = list(dict.fromkeys(stops))
    return [{name: stop} for stop in stops + stops[-2:0:-1]]


def by_interact(explorer, moves: list[dict]):
    """The same pictures the other way: a widget with one slider, the number of the move."""
    import ipywidgets
    from IPython.display import display

    start, whole = explorer.values, []
    for move in moves:
        explorer.move(**move)
        whole.append(pickle.dumps(explorer.picture.figure))
    explorer.move(**start)

    def show_new(number):
        explorer.view.move(**(explorer.values | moves[number]))
        display(pickle.loads(whole[number]))

    return ipywidgets.interactive(show_new, number=ipywidgets.IntSlider(0, 0, len(moves) - 1))


def measure(make) -> dict[str, list[float]]:
    """Both ways, move by move; run inside a kernel with the inline backend."""
    from IPython.display import display

    explorer = make()
    explorer.view = numbers = Clocked(explorer.view)
    moves = places(explorer)
    other = by_interact(explorer, moves)
    display(explorer, other)
    times = {"ours": [], "interact": [], "numbers": [], "ours, drawing": [], "interact, drawing": []}
    started = time.perf_counter()
    for turn, number in enumerate(itertools.islice(itertools.cycle(range(len(moves))), MOVES + 2)):
        for way, action, given in (
            ("ours", explorer.move, moves[number]),
            ("interact", other.children[0].set_trait, {"name": "value", "value": number}),
        ):
            taken = timed(action, **given)
            if turn > 1:  # the first ones warm up
                times[way].append(taken)
                times["numbers"].append(numbers.taken)
                times[f"{way}, drawing"].append(taken - numbers.taken)
        if time.perf_counter() - started > BUDGET and turn > 6:
            break
    return times


def views() -> dict:
    """The toy of the tests and every view of the course."""
    from tests.live.toy import Toy
    from tests.pictures.test_every_view import VIEWS

    class Bounded(Toy):  # the toy breaks on purpose above speed 12
        sliders = Toy.sliders | {"speed": (1, 12, 3)}

    return {"Toy": Bounded} | VIEWS


def explorer(name):
    """A new explorer of the view of that name."""
    from lora_teach.live import explore

    return explore(views()[name]())


def main(names) -> int:
    """Measure in a kernel of its own and print the table."""
    from jupyter_client.manager import start_new_kernel

    sys.path.insert(0, str(ROOT))
    known = views()
    unknown = set(names) - set(known)
    if unknown:
        print(f"no view {', '.join(sorted(unknown))}: there are {', '.join(known)}", file=sys.stderr)
        return 2
    manager, client = start_new_kernel(cwd=str(ROOT), stderr=subprocess.DEVNULL)
    failed = False
    try:
        run(
            client,
            "%matplotlib inline\nimport sys; sys.path.insert(0, '.')\nfrom tests.benchmarks import slider",
        )
        print(f"{'view':<18}{'ours':>22}{'interact':>24}{'numbers':>22}{'ratio':>9}{'drawing':>9}")
        for name in names or known:
            code = f"print('TIMES', dict(slider.measure(lambda: slider.explorer({name!r}))))"
            try:
                printed = run(client, code)
            except RuntimeError as error:
                print(f"{name:<18}{error}")
                failed = True
                continue
            (line,) = [text for text in printed.splitlines() if text.startswith("TIMES")]
            times = ast.literal_eval(line.removeprefix("TIMES "))
            middle = {way: statistics.median(values) for way, values in times.items()}
            drawing = middle["interact, drawing"] / middle["ours, drawing"]
            ratio = middle["interact"] / middle["ours"]
            row = [quartiles(times[way]) for way in ("ours", "interact", "numbers")]
            print(f"{name:<18}{row[0]:>22}{row[1]:>24}{row[2]:>22}{ratio:>8.1f}×{drawing:>8.1f}×")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return int(failed)


def trained() -> int:
    """The steps that optimisers have taken since this was asked last."""
    from torch.optim import optimizer

    if not hasattr(trained, "steps"):
        trained.steps = 0
        optimizer.register_optimizer_step_post_hook(lambda *_: setattr(trained, "steps", trained.steps + 1))
    steps, trained.steps = trained.steps, 0
    return steps


def quartiles(values, digits=1) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def run(client, code) -> str:
    """Run a cell, return what it printed; an error in it ends the benchmark."""
    printed = []

    def hear(message):
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])
        elif message["msg_type"] == "error":
            raise RuntimeError(f"{message['content']['ename']}: {message['content']['evalue']}")

    client.execute_interactive(code, timeout=600, stop_on_error=False, output_hook=hear)
    return "".join(printed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("views", nargs="*", metavar="VIEW", help="only these views")
    sys.exit(main(parser.parse_args().views))
