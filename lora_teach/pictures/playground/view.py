"""The playground: choose a material and settings, train, compare. The page stays alive while it trains.

A run is a task in the kernel's own event loop, no thread: it trains for a twentieth of a second, lets the page speak,
and goes on. So controls and Stop answer while it runs, and cells keep their order.
"""

import asyncio
import contextlib
import html
import time
from dataclasses import asdict
from functools import cache

from lora_teach.live.controls import control, set_value
from lora_teach.live.explore import Explorer, View, paragraph, trouble
from lora_teach.live.image_widget import LOCK
from lora_teach.live.kernel import sliders_answered
from lora_teach.live.watch import PAUSE, TURNS
from lora_teach.measure import numerical_rank, spectrum
from lora_teach.measure.judging import Jury
from lora_teach.pictures.playground.numbers import MATERIALS, DigitMaterial, Run, Settings, plan
from lora_teach.pictures.playground.panels import Bar, Curve, Losses, Samples, Spectrum, role_of
from lora_teach.pictures.playground.words import left_out, next_run, result, table
from lora_teach.plots.name_tiles import Written
from lora_teach.plots.picture import Picture
from lora_teach.plots.style import figure, panels, styled
from lora_teach.utils.threads import one_thread

import ipywidgets
from ipywidgets import HTML, HBox, Layout, VBox

KEPT = 8  # runs: each holds a model, and more lines could not be told apart
REST = 0.1  # seconds between two drawings
OF_LORA = ("rank", "alpha", "scaling", "targets")
COLUMNS = ("method", "rank", "alpha", "scaling"), ("lr", "steps", "seed", "targets")


class Bench(View):
    """All runs, and what the settings would train: a `Bar`, `Losses`, a `Spectrum` and `Samples`."""

    sliders = {
        "material": {name: material.label for name, material in MATERIALS.items()},
        "method": {"full": "full fine-tuning", "LoRA": "LoRA"},
        "rank": [1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32, 48, 64, 96],
        "alpha": [0.01, 0.03, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128],
        "lr": [float(f"{digit}e{power}") for power in (-4, -3, -2, -1) for digit in (1, 2, 3, 5, 7)] + [1.0],
        "steps": [20, 50, 100, 200, 300, 500, 1000, 2000],
        "seed": list(range(10)),
        "scaling": {"alpha/r": "α/r", "alpha/sqrt(r)": "α/√r", "alpha": "α, constant"},
        "targets": {"all": "all"},  # the material's layers, by `fit`
    }
    labels = {"rank": "rank r", "alpha": "α", "lr": "learning rate", "targets": "layers"}

    @styled
    def __init__(self):
        self.runs, self.running, self._jury = [], None, cache(Jury)
        made = figure(10.0, 6.0)
        top, middle, low = made.subfigures(3, 1, height_ratios=[0.8, 3.45, 1.75])
        left, right = panels(middle, columns=2, width_ratios=[1.75, 1])
        self.bar, self.samples = Bar(panels(top, grid=False)), Samples(low)
        self.losses, self.spectrum = Losses(left), Spectrum(right)
        self.picture = Picture(made, [part.moving for part in (self.bar, self.losses, self.spectrum, self.samples)])
        self.begin()

    def move(self, **values):
        """Show what these settings would train; before any run, also what the base does with their material."""
        settings = Settings(**values)
        try:
            self.planned, self.problem = plan(settings), None
            self.bar.show(next_run(settings), self.planned.trainable, self.planned.total)
        except (TypeError, ValueError) as problem:
            self.planned, self.problem = None, str(problem)
            self.bar.show(f"Can't be trained. {next_run(settings)}")
        no_run = not self.runs and self.running is None
        if no_run and self._show_samples(MATERIALS[settings.material], None):
            self.picture.background_changed()
        return self._sentence(settings)

    def begin(self):
        """Draw everything anew, after a run came or went."""
        every = [*self.runs, *([self.running] if self.running else [])]
        self.losses.show([_curve(run) for run in every[:-1]], _curve(every[-1]) if every else None)
        self.spectrum.clear()  # its axis begins anew: how it grew on the way was a matter of time
        if every:
            self.advance(every[-1])
        self.picture.background_changed()

    def advance(self, run):
        """Take the newest run's part of the picture on."""
        changed = self.losses.move(_curve(run))
        layer, update = run.largest_update()
        with one_thread():
            values, rank = spectrum(update).tolist(), numerical_rank(update)
        changed |= self.spectrum.show(layer, values, rank, role_of(run.number, run.settings.full))
        if self._show_samples(run.material, run) or changed:
            self.picture.background_changed()

    def _show_samples(self, material, run):
        """Show the material's samples before, and after the run; tell whether the background changed."""
        after, title = run.samples() if run else [], "after: no run yet"
        if run is not None:
            title = f"run {run.number}, step {len(run.history)}"
            if run.score is not None:
                title = f"after run {run.number}: {material.tell(run.score)} {material.held_out}"
        self.samples.titles(f"before: {material.tell(material.start)} {material.held_out}", title)
        if isinstance(material, DigitMaterial):
            pixels, truth = material.shown
            return self.samples.digits(pixels.numpy(), truth.tolist(), material.before, after)
        jury = self._jury(material.label)
        written = [[Written(name, jury.tastes(name), jury.is_real(name)) for name in one] for one in
                   (material.before, after)]  # fmt: skip
        return self.samples.names(*written, material.label)

    def _sentence(self, settings):
        """Tell what there is, and nothing that depends on the machine: it is compared where notebooks are tested."""
        if not self.runs:
            planned = self.planned
            counted = f" {planned.trainable:,} of {planned.total:,} numbers would train." if planned else ""
            return f"No run yet. {next_run(settings)}.{counted}"
        newest = self.runs[-1]
        how = "full fine-tuning" if newest.settings.full else f"LoRA of rank {newest.settings.rank}"
        return (
            f"{len(self.runs)} run{'s' if len(self.runs) > 1 else ''}. The newest, run {newest.number}: {how} on "
            f"{newest.material.title}, {newest.trainable:,} of {newest.total:,} numbers trained"
            + (f", {newest.history.stopped}." if newest.history.stopped else f", {newest.settings.steps} steps.")
        )


class Playground(Explorer):
    """The `Bench` with its sliders, buttons and the table of runs, in one box; the last line of a cell shows it.

    Args:
        settings: Where the controls start, `Settings`' own: ``material="Zulu"``, ``rank=8``, …

    Attributes:
        runs: The `Run` of each that has ended, oldest first: settings, model, history,
            score. Eight are kept; the ninth takes the place of the oldest.
        failure: The exception that ended the last run, or None.

    A saved notebook keeps the picture with the sentence in its foot, and the sentence as plain text.
    """

    def __init__(self, **settings):
        bench = Bench()
        self.runs, self.failure, self._stopping, self._task = bench.runs, None, False, None
        controls = {name: control(name, spec, bench.labels.get(name)) for name, spec in bench.sliders.items()}
        controls["material"].layout.width = "100%"
        stand_at(controls, Settings().changed(**settings))
        self._train = self._button("Train", "play", self._train_pressed, button_style="primary")
        self._stop = self._button("Stop", "stop", lambda _: self.stop())
        self._remove = self._button("Remove last", "undo", lambda _: self.remove_last())
        self._clear = self._button("Clear", "trash", lambda _: self.clear())
        self._bar, self._text = ipywidgets.IntProgress(layout=Layout(width="14em")), ipywidgets.Label("")
        self._told, self._table = paragraph(""), HTML(layout=Layout(max_width="100%", overflow="auto"))
        super().__init__(bench, controls)
        wrapped, half = {"flex_flow": "row wrap"}, Layout(flex="1 1 28em", max_width="36em")
        halves = [VBox([controls[name] for name in names], layout=half) for names in COLUMNS]
        row = [self._train, self._stop, self._remove, self._clear, self._bar, self._text]
        self.children = [
            controls["material"], HBox(halves, layout=Layout(width="100%", **wrapped)), self._trouble,
            HBox(row, layout=Layout(align_items="center", **wrapped)), self._live.image, self._foot, self._table,
        ]  # fmt: skip
        self._show_runs()

    @property
    def running(self):
        """The run that has not ended, or None."""
        return self.view.running

    @property
    def settings(self):
        """What the controls stand at."""
        self._flush()
        return Settings(**self.values)

    def set(self, **settings):
        """Move controls from code, all at once: ``play.set(rank=8, lr=0.02)``.

        Raises:
            TypeError, ValueError: No setting of that name, or nothing that could be trained, in words that say why.
                No control has moved then.
        """
        self._move_to(self.settings.changed(**settings))

    async def train(self, **settings):
        """Train one run in a cell, ``run = await play.train()``, drawn in the playground wherever that is shown.

        The settings are changed first, as by `set`. While another run is going this one waits. Stop, or the kernel's
        interrupt, ends it after the step it is at, and it is kept; so is a run whose loss is no longer finite
        (``run.history.stopped`` says so).

        Raises:
            TypeError, ValueError: As `set`, or the controls stand at something that can't be trained.
            Exception: Whatever the training raises; it is shown in the playground too.
        """
        if settings:
            self.set(**settings)
        chosen = self.settings.changed()  # checked: sliders can stand where nothing can be trained
        with sliders_answered():
            while self.running is not None:
                self._text.value = f"the next run waits for run {self.running.number}"
                await asyncio.sleep(PAUSE)
            return await self._follow(self._begin(chosen))

    def stop(self):
        """End the run after the step it is at; without one it does nothing."""
        self._stopping = self.running is not None
        self._speak()

    def remove_last(self):
        """Forget the newest run that has ended."""
        del self.runs[-1:]
        self._show_runs()

    def clear(self):
        """Forget all runs that have ended; one that is going goes on."""
        self.runs.clear()
        self._show_runs()

    def _begin(self, settings):
        """Make the run and show it; from here on no other can begin."""
        taken = max([run.number for run in self.runs], default=0)
        self.failure, self._stopping = None, False
        self.view.running = Run(settings, taken + 1)
        try:
            self._show_runs()
        except BaseException:
            self.view.running = None
            raise
        return self.running

    async def _follow(self, run):
        """Train, draw several times a second, and let the page speak in between."""
        drawn = began = time.perf_counter()
        try:
            while not self._stopping and run.advance(PAUSE):
                if time.perf_counter() - drawn > REST:
                    self._show_progress(time.perf_counter() - began)
                    drawn = time.perf_counter()
                for _ in range(TURNS):
                    await asyncio.sleep(0)
        except (asyncio.CancelledError, KeyboardInterrupt):  # the kernel's interrupt: at an await, or inside a step
            task = asyncio.current_task()
            if hasattr(task, "uncancel"):  # Python 3.11 and later count the requests
                task.uncancel()
        except Exception as error:
            self.failure = error
            raise
        finally:
            self._end(run)
        return run

    def _end(self, run):
        """Score and keep the run, unless it failed."""
        self.view.running, told = None, ""
        try:
            if self.failure is None:
                run.end()
                self.runs.append(run)
                told = result(run)
                if len(self.runs) > KEPT:
                    told += f" Run {self.runs.pop(0).number} made room for it: {KEPT} are kept."
        except Exception as error:
            self.failure = error
            raise
        finally:
            self._show_runs(told)

    def _train_pressed(self, button):
        if self.running is not None:
            self._text.value = f"run {self.running.number} is still going: Stop ends it"
            return
        try:
            run = self._begin(self.settings)
        except Exception as error:  # the page hasn't greyed the button out yet, or something is broken: say so
            self.failure = error
            self._show_runs()
            return
        try:
            self._task = asyncio.get_running_loop().create_task(self._shown(run))
        except RuntimeError:  # plain Python: nobody else would run it
            asyncio.run(self._shown(run))

    async def _shown(self, run):
        """A run that nobody awaits: what it raises stands on the page, where `_follow` has put it."""
        with contextlib.suppress(Exception):
            await self._follow(run)

    def _button(self, text, icon, pressed, **options):
        made = ipywidgets.Button(description=text, icon=icon, layout=Layout(width="10em"), **options)
        made.on_click(pressed)
        return made

    def _move_to(self, settings=None):
        """Let the controls stand at these settings, by default at their own, with the layers that the material has."""
        with LOCK:
            self._holding = True
            try:
                stand_at(self.controls, settings)
            finally:
                self._holding = False
            super()._redraw()

    _redraw = _move_to

    def _speak(self):
        """What can't be trained or is left out stands over the buttons, what became of the last run in the foot."""
        view, going = self.view, self.running is not None
        note = trouble(f"<b>This can't be trained:</b> {html.escape(view.problem)}") if view.problem else left_out(view)
        self._trouble.value = note if self.error is None else self._report()
        self._foot.value = self._told
        self._train.disabled = going or view.planned is None
        self._stop.disabled = not going or self._stopping
        self._stop.description = "Stopping" if going and self._stopping else "Stop"
        self._remove.disabled = self._clear.disabled = not self.runs

    def _show_runs(self, told=""):
        """Bring the whole page up to date, after a run came, went or ended, which ``told`` tells of."""
        run = self.running
        self._bar.layout.visibility = "visible" if run else "hidden"
        self._bar.max, self._bar.value = (run.settings.steps, len(run.history)) if run else (1, 0)
        self._text.value = f"run {run.number} begins" if run else ""
        lead = "<b>This run failed</b> and is not kept; the other runs are untouched."
        self._told = trouble(lead, self.failure) if self.failure else paragraph(told)
        self._table.value = table(self.runs)
        with LOCK:
            self.view.begin()
            self._redraw()

    def _show_progress(self, seconds):
        run, done = self.running, len(self.running.history)
        with LOCK:
            self.view.advance(run)
            self._live.paint()
        self._bar.value = done
        left = seconds / done * (run.settings.steps - done)
        self._text.value = f"run {run.number}: step {done} of {run.settings.steps}, {left:.0f} s left"


def stand_at(controls, settings=None):
    """Move the controls to settings that have been checked, if given; offer the material's layers and what LoRA has."""
    if settings is not None:
        controls["material"].value = settings.material
        _fit(controls)  # before its layers can be chosen
        for name, value in asdict(settings).items():
            set_value(controls[name], value)
    _fit(controls)


def _fit(controls):
    """Offer the material's layers, where "all" stays chosen; full fine-tuning disables LoRA's controls."""
    widget, layers = controls["targets"], list(MATERIALS[controls["material"].value].layers)
    if [value for _, value in widget.options] != layers:
        kept = widget.value if widget.value in layers else "all"
        widget.options, widget.value = [(layer, layer) for layer in layers], kept
    for name in OF_LORA:
        controls[name].disabled = controls["method"].value == "full"


def _curve(run):
    text = str(run.settings) + (f": {run.material.tell(run.score)}" if run.score is not None else "")
    return Curve(run.number, text, role_of(run.number, run.settings.full), run.settings.steps, run.history.loss)
