"""What stands on the page while work is done in a cell, and what stays there when it has ended."""

import time

from lora_teach.live.image_widget import LivePicture
from lora_teach.plots.picture import show

import ipywidgets
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display
from ipywidgets import Layout

FRAME = 0.13  # seconds of rest between two drawings: 5 to 8 a second
WIDGET = "application/vnd.jupyter.widget-view+json"
_finished = []  # hidden boxes, closed when the next run begins: JupyterLab stumbles over one closed while it is hidden


class Monitor:
    """Stop button, progress bar, time left and picture, in one box, for so many ``planned`` pieces of work.

    ``draw`` makes the ``drawing``, which is moved on; ``stopped`` says whether the Stop button was pressed.
    """

    def __init__(self, planned, draw, unit="step"):
        while _finished:
            _close(_finished.pop())
        self.planned, self.unit, self.drawing, self.stopped = planned, unit, draw(), False
        self._draw, self._first, self._drawn = draw, None, 0.0
        self._live = LivePicture(self.drawing.picture)
        self.button = ipywidgets.Button(description="Stop", icon="stop", layout=Layout(width="8em"))
        self.button.on_click(self._stop)
        self._bar = ipywidgets.IntProgress(max=planned, layout=Layout(width="24em"))
        self._text = ipywidgets.Label(f"{unit} 0 of {planned}")
        row = ipywidgets.HBox([self.button, self._bar, self._text], layout=Layout(align_items="center"))
        self.box = ipywidgets.VBox([row, self._live.image], layout=Layout(align_items="flex-start"))
        self._live.paint()
        self._handle = _display(self.box)

    def _stop(self, button):
        self.stopped = True
        button.description, button.disabled = "Stopping", True

    def draw_if_due(self, gathered):
        """Bring picture, bar and time left up to date, unless that was done a moment ago."""
        now = time.perf_counter()
        if now - self._drawn < FRAME:
            return
        self.drawing.update(gathered)
        self._live.paint()
        self._bar.value = len(gathered)
        self._text.value = f"{self.unit} {len(gathered)} of {self.planned}" + self._left(now, len(gathered))
        self._drawn = time.perf_counter()

    def _left(self, now, done):
        """The time left by the pace since the first drawing; before that, libraries were still being loaded."""
        if self._first is None:
            self._first = now, done
            return ""
        began, before = self._first
        if done == before:  # what was gathered meanwhile is no whole piece
            return ""
        return f", {_duration((now - began) / (done - before) * (self.planned - done))} left"

    def finish(self, gathered):
        """Put the whole picture and its sentence in the widgets' place; where nothing was gathered, nothing."""
        self.drawing = self._draw()  # afresh: how the axes grew on the way was a matter of time
        self.drawing.update(gathered)
        if self._handle is not None:
            # An empty id hides the output, now and when the notebook is opened again.
            self._handle.update({WIDGET: {"version_major": 2, "version_minor": 0, "model_id": ""}}, raw=True)
            if len(gathered):
                display(show(self.drawing.picture, self.drawing.sentence(gathered)))
        _finished.append(self.box)


def _display(box):
    """Show the box without the plain text that a saved notebook would keep; None outside notebooks."""
    if not InteractiveShell.initialized():
        return None
    return display({WIDGET: box._repr_mimebundle_()[WIDGET]}, raw=True, display_id=True)


def _close(box):
    for part in (*getattr(box, "children", ()), getattr(box, "style", None), box.layout):
        if part is not None:
            _close(part) if hasattr(part, "layout") else part.close()
    box.close()


def _duration(seconds):
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
