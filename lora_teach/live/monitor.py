"""What stands on the page while a training runs, and what stays there when it has ended."""

import time
from collections.abc import Callable

import ipywidgets
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display
from ipywidgets import Layout

from lora_teach.live.picture import LivePicture
from lora_teach.plots.loss_curve import LossCurve
from lora_teach.plots.picture import show
from lora_teach.training import History

FRAME = 0.13  # seconds of rest between two drawings of the curve: 5 to 8 a second
WIDGET = "application/vnd.jupyter.widget-view+json"
_finished = []  # hidden boxes, closed when the next run begins: JupyterLab stumbles over one closed while it is hidden


class Monitor:
    """Stop button, progress bar, time left and loss curve, in one box.

    Args:
        steps: The planned number of steps.
        draw: Makes the figure, which the monitor moves on.

    Attributes:
        curve: That figure.
        stopped: Whether the Stop button was pressed.
    """

    def __init__(self, steps: int, draw: Callable[[], LossCurve]) -> None:
        while _finished:
            _close(_finished.pop())
        self.steps, self.curve, self.stopped = steps, draw(), False
        self._draw, self._first, self._drawn = draw, None, 0.0
        self._live = LivePicture(self.curve.picture)
        self.button = ipywidgets.Button(description="Stop", icon="stop", layout=Layout(width="8em"))
        self.button.on_click(self._stop)
        self._bar = ipywidgets.IntProgress(max=steps, layout=Layout(width="24em"))
        self._text = ipywidgets.Label(f"step 0 of {steps}")
        row = ipywidgets.HBox([self.button, self._bar, self._text], layout=Layout(align_items="center"))
        self.box = ipywidgets.VBox([row, self._live.image], layout=Layout(align_items="flex-start"))
        self._live.paint()
        self._handle = _display(self.box)

    def _stop(self, button) -> None:
        self.stopped = True
        button.description, button.disabled = "Stopping", True

    def draw_if_due(self, history: History) -> None:
        """Bring curve, bar and time left up to date, unless that was done a moment ago."""
        now = time.perf_counter()
        if now - self._drawn < FRAME:
            return
        self.curve.update(history.loss)
        self._live.paint()
        self._bar.value = len(history)
        self._text.value = f"step {len(history)} of {self.steps}" + self._left(now, len(history))
        self._drawn = time.perf_counter()

    def _left(self, now: float, done: int) -> str:
        """The time left by the pace since the first drawing; before that, libraries were still being loaded."""
        if self._first is None:
            self._first = now, done
            return ""
        began, before = self._first
        return f", {_duration((now - began) / (done - before) * (self.steps - done))} left"

    def finish(self, history: History) -> None:
        """Put the whole curve and its sentence, which don't depend on the clock, in the widgets' place.

        Where not one step was done, nothing takes their place.
        """
        self.curve = self._draw()  # afresh: how the axis grew on the way was a matter of time
        self.curve.update(history.loss)
        if self._handle is not None:
            # An empty id hides the output, now and when the notebook is opened again.
            self._handle.update({WIDGET: {"version_major": 2, "version_minor": 0, "model_id": ""}}, raw=True)
            if len(history):
                display(show(self.curve.picture, summary(history, self.steps, self.curve.window)))
        _finished.append(self.box)


def summary(history: History, steps: int, window: int) -> str:
    """The sentence under the finished curve: how far the run came and what became of the loss."""
    done = len(history)
    begun = f"{steps} steps" if done == steps else f"Ended after {done} of {steps} steps"
    last = history.loss[-window:]
    return (
        f"{begun}: the loss went from {history.loss[0]:.2f} to {sum(last) / len(last):.2f}"
        + (f", the mean of the last {len(last)} steps." if len(last) > 1 else ".")
    )  # fmt: skip


def _display(box):
    """Show the box without the plain text that a saved notebook would keep; None outside notebooks."""
    if not InteractiveShell.initialized():
        return None
    return display({WIDGET: box._repr_mimebundle_()[WIDGET]}, raw=True, display_id=True)


def _close(box) -> None:
    for part in (*getattr(box, "children", ()), getattr(box, "style", None), box.layout):
        if part is not None:
            _close(part) if hasattr(part, "layout") else part.close()
    box.close()


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
