"""Binds a view to sliders: drag, and the picture and the sentence under it follow.

A view declares its sliders once, draws its picture, and has one verb, `View.move`: it moves the picture's artists and
returns the sentence under it. What it shows is computed by functions that know of no picture, in ``numbers.py``.

    class Doubling(View):
        sliders = {"x": (0, 10, 3)}

        def __init__(self, guess=None):
            fig = figure(4, 3)
            axes = panels(fig)
            (self.dot,) = axes.plot([], [], "o")
            self.picture = Picture(fig, [self.dot])

        def move(self, x):
            self.dot.set_data([x], [2 * x])
            return f"Twice {x} is {2 * x}."

    explore(Doubling())

``tests/pictures`` moves each view of the course to minimum, start and maximum of each slider.
"""

import asyncio
import html
import time
import traceback

from lora_teach.live.controls import control, positions
from lora_teach.live.image_widget import LOCK, LivePicture
from lora_teach.plots import COLOURS, Picture, Still, show

import ipywidgets

TEXT = "line-height: 1.4; font-size: 14px; min-height: 2.8em"  # two lines: what follows doesn't hop as words change


class View:
    """Base of every view.

    Attributes:
        picture: The `Picture` whose artists `move` changes.
        sliders: ``{keyword of move: specification}``, as `lora_teach.live.controls.control` takes it; an instance may
            have its own.
        labels: ``{keyword: what stands before its slider}`` where the name with spaces for underscores won't do.
        guess: The learner's prediction, a number, or None.
    """

    picture: Picture
    sliders: dict = {}
    labels: dict = {}
    guess = None

    def move(self, **values):
        """Move the artists of ``picture`` to these values and return the sentence under it."""
        raise NotImplementedError(f"{type(self).__name__} lacks move: move the artists, return the sentence.")

    def your_guess(self, form=".2f", about="", unit="", shown=True):
        """Return the end of a sentence that tells the guess; nothing without one, or where it is not ``shown``."""
        return f" Your guess{about}: {self.guess:{form}}{unit}." if shown and self.guess is not None else ""

    def forget(self):
        """Forget earlier moves, where the picture shows any: the next one is drawn as if it were the first."""

    def static_figure(self):
        """Return what a saved notebook shows, such as small multiples; None for the current picture."""
        return None


class Explorer(ipywidgets.VBox):
    """A view with its sliders, its picture and its sentence; made by `explore`.

    Attributes:
        view: The view.
        controls: ``{name: widget}``.
        error: What the view raised at the last move, or None.

    A saved notebook keeps the picture, or the ``static_figure``, with the sentence in its foot and as plain text.
    """

    queued = 0.004  # seconds: a move that arrives sooner after a redraw had been waiting for its end

    def __init__(self, view, controls, static_figure=None):
        self.view, self.controls, self.static_figure, self.error = view, controls, static_figure, None
        self._limits = {name: positions(widget) for name, widget in controls.items()}
        self._sentence = _checked(view, view.move(**self.values))  # unguarded: a broken view must break its cell
        self._live = LivePicture(view.picture)
        width = ipywidgets.Layout(max_width=f"{view.picture.figure.bbox.width:.0f}px")
        self._foot, self._trouble = ipywidgets.HTML(layout=width), ipywidgets.HTML(layout=width)
        self._holding = self._drawing = self._stale = False
        self._pending, self._finished = None, 0.0
        _line_up(controls.values())
        super().__init__([*controls.values(), self._live.image, self._foot, self._trouble])
        self.layout.align_items = "flex-start"
        self._live.paint()
        self._speak()
        for widget in controls.values():
            widget.observe(self._moved, names="value")

    @property
    def values(self):
        """Where the sliders stand: ``{name: value}``."""
        return {name: widget.value for name, widget in self.controls.items()}

    @property
    def sentence(self):
        """The sentence for where the sliders stand now."""
        self._flush()
        return self._sentence

    @property
    def picture(self):
        """The picture for where the sliders stand now."""
        self._flush()
        return self.view.picture

    def limits(self):
        """``{name: (minimum, start, maximum)}`` of sliders, every choice of buttons, menus and checkboxes."""
        return dict(self._limits)

    def move(self, **values):
        """Moves sliders from code, all at once, and returns the sentence; what the view raises is raised here too.

        Raises:
            KeyError: no slider of that name.
            ValueError: a value that the slider can't take; the sliders stay where they were.
        """
        for name in values:
            if name not in self.controls:
                raise KeyError(f"no slider {name!r}: this view has {', '.join(self.controls)}.")
        before = self.values
        self._holding = True
        try:
            for name, value in values.items():
                self.controls[name].value = value
                if value is None or self.controls[name].value != value:  # ipywidgets clamps, or chooses nothing
                    raise ValueError(f"{name}={value!r} is not a place on its slider: {self._limits[name]}.")
        except Exception:
            for name, value in before.items():
                self.controls[name].value = value
            raise
        finally:
            self._holding = False
        self._redraw()
        if self.error is not None:
            raise self.error
        return self._sentence

    def _moved(self, change):
        """A slider moved: redraw at once, or, if moves have piled up meanwhile, once for all of them.

        JupyterLab sends a slider's next position only after the kernel has finished with the last one, and then the
        newest, so drawing at once never lags by more than one redraw. Front ends without that brake queue up every
        position. These come right after a redraw; then the queue is left to run dry and the newest position is drawn.
        """
        if self._holding or self._pending is not None:
            return
        if time.perf_counter() - self._finished < self.queued:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                loop = None  # plain Python: nobody would call back later
            if loop is not None:
                self._pending = loop.call_later(self.queued, self._flush)
                return
        self._redraw()

    def _flush(self):
        """Does the redraw that was put off, if there is one."""
        if self._pending is not None:
            self._redraw()

    def _redraw(self):
        """View, picture and sentence for the newest values; an exception is shown under the picture."""
        with LOCK:
            if self._drawing:  # the view itself moved a slider: draw again afterwards, with what it wants
                self._stale = True
                return
            self._drawing = True
            try:
                self._stale = True
                while self._stale:
                    self._stale = False
                    if self._pending is not None:
                        self._pending.cancel()
                        self._pending = None
                    try:
                        self._sentence = _checked(self.view, self.view.move(**self.values))
                        self._live.paint()
                        self.error = None
                    except Exception as error:
                        self.error = error
                    self._speak()
            finally:
                self._drawing = False
                self._finished = time.perf_counter()

    def _speak(self):
        self._foot.value = paragraph(self._sentence) if self.error is None else ""
        self._trouble.value = self._report() if self.error is not None else ""

    def _report(self):
        """What was asked and what went wrong, as a learner reads it."""
        asked = html.escape(", ".join(f"{name} = {value}" for name, value in self.values.items()))
        return trouble(f"<b>This move failed</b> at {asked}; the picture shows the last one that worked.", self.error)

    def _repr_mimebundle_(self, **kwargs):
        still = self.static_figure
        with LOCK:
            if not isinstance(still, Still):
                still = show(self.picture if still is None else still, self.sentence)
        return super()._repr_mimebundle_(**kwargs) | still._repr_mimebundle_()


def explore(view, /, *, static_figure=..., **sliders):
    """Give a view its sliders: the last line of a cell.

    Args:
        view: A `View`; it is moved once, unguarded, to where its sliders start.
        static_figure: What a saved notebook shows in place of the current picture: a figure, or
            ``show(figure, sentence)``, or None for the current picture. By default the view's own.
        sliders: Specifications that replace those of the view's ``sliders``.

    Raises:
        TypeError: No `View`, one without a `Picture` or sliders, no sentence; a slider of no known form.
        KeyError: A slider, or a label, that the view does not have.
    """
    if not isinstance(view, View) or not isinstance(getattr(view, "picture", None), Picture):
        raise TypeError(f"explore takes a View with a picture, and {view!r} is none: derive it from View, set picture.")
    if not view.sliders:
        raise TypeError("a view needs at least one slider; for a picture that stands still use show(figure, sentence).")
    for what, given in (("slider", sliders), ("label", view.labels)):
        for name in given:
            if name not in view.sliders:
                raise KeyError(f"a {what} for {name!r}, but the view's sliders are {', '.join(view.sliders)}.")
    specs = view.sliders | sliders
    controls = {name: control(name, spec, view.labels.get(name)) for name, spec in specs.items()}
    return Explorer(view, controls, view.static_figure() if static_figure is ... else static_figure)


def _checked(view, sentence):
    if not isinstance(sentence, str) or not sentence.strip():
        raise TypeError(f"{type(view).__name__} returned {sentence!r}: a view returns the sentence under its picture.")
    return sentence


def _line_up(widgets):
    """Labels in one column, sliders of one length."""
    widgets = list(widgets)
    longest = max(len(getattr(widget, "description", "")) for widget in widgets)
    for widget in widgets:
        if hasattr(widget.style, "description_width"):
            widget.style.description_width = f"{max(4.0, 0.6 * longest + 0.8):.1f}em"
        if not isinstance(widget.layout.width, str):
            widget.layout.width = "min(100%, 36em)"


def paragraph(text):
    """Return plain text as HTML; an empty one keeps its place, so that the page doesn't hop."""
    return f'<div style="{TEXT}">{html.escape(text)}</div>'


def trouble(lead, error=None):
    """Return what went wrong, HTML, with a red edge; an exception follows, its traceback folded away."""
    if error is not None:
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        lead += (
            f"<br>{type(error).__name__}: {html.escape(str(error))}<details><summary>Where it happened</summary>"
            f'<pre style="font-size: 11px">{html.escape(trace)}</pre></details>'
        )
    return f'<div style="{TEXT}; border-left: 3px solid {COLOURS["full"]}; padding-left: 8px">{lead}</div>'
