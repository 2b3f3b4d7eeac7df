"""The playground: choose a material and settings, train, compare. The page stays alive while it trains.

A run is a task in the kernel's own event loop, no thread: it trains for a twentieth of a second, lets the page speak,
and goes on. So controls and Stop answer while it runs, and cells keep their order.
"""

import asyncio
import contextlib
import time

from lora_teach.live.kernel import sliders_answered
from lora_teach.live.picture import LOCK, LivePicture
from lora_teach.live.watch import PAUSE, TURNS
from lora_teach.pictures.playground.controls import Controls
from lora_teach.pictures.playground.drawing import Drawing
from lora_teach.pictures.playground.numbers import Run, Settings, plan
from lora_teach.pictures.playground.words import failure, left_out, paragraph, refusal, result, sentence, table
from lora_teach.plots import show

import ipywidgets
from ipywidgets import HTML, HBox, Layout, VBox

KEPT = 8  # runs: each holds a model, and more lines could not be told apart
REST = 0.1  # seconds between two drawings


class Playground(VBox):
    """Controls, buttons, picture and table of runs, in one box; the last line of a cell shows it.

    Args:
        settings: Where the controls start, `Settings`' own: ``material="Zulu"``, ``rank=8``, …

    Attributes:
        runs: The `Run` of each that has ended, oldest first: settings, model, history,
            score. Eight are kept; the ninth takes the place of the oldest.
        running: The run that has not ended, or None.
        error: The exception that ended the last run, or None.

    A saved notebook keeps the picture with the sentence in its foot, and the sentence as plain text.
    """

    def __init__(self, **settings):
        self.runs, self.running, self.error = [], None, None
        self._stopping, self._task = False, None
        self._drawing = Drawing()
        self._live = LivePicture(self._drawing.picture)
        self.controls = Controls(Settings().changed(**settings), self._moved)
        self._note, self._foot = HTML(), HTML()
        self._table = HTML(layout=Layout(max_width="100%", overflow="auto"))
        self._train = self._button("Train", "play", self._train_pressed, button_style="primary")
        self._stop = self._button("Stop", "stop", lambda _: self.stop())
        self._remove = self._button("Remove last", "undo", lambda _: self.remove_last())
        self._clear = self._button("Clear", "trash", lambda _: self.clear())
        self._bar = ipywidgets.IntProgress(layout=Layout(width="14em"))
        self._text = ipywidgets.Label("")
        row = [self._train, self._stop, self._remove, self._clear, self._bar, self._text]
        super().__init__([
            self.controls, self._note, HBox(row, layout=Layout(align_items="center", flex_flow="row wrap")),
            self._live.image, self._foot, self._table,
        ])  # fmt: skip
        self.layout.align_items = "flex-start"
        self._show_plan()
        self._show_runs()

    @property
    def settings(self):
        """What the controls stand at."""
        return self.controls.settings

    @property
    def picture(self):
        """The picture as it stands."""
        return self._drawing.picture

    @property
    def sentence(self):
        """What there is, in a sentence without the digits that depend on the machine."""
        return sentence(self.runs, self.settings, self._plan)

    def set(self, **settings):
        """Move controls from code, all at once: ``play.set(rank=8, lr=0.02)``.

        Raises:
            TypeError, ValueError: No setting of that name, or nothing that could be trained, in words that say why.
                No control has moved then.
        """
        self.controls.move(self.settings.changed(**settings))
        self._moved()

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
        self._show_buttons()

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
        self.error, self._stopping = None, False
        self.running = Run(settings, taken + 1)
        try:
            self._show_runs()
        except BaseException:
            self.running = None
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
            self.error = error
            raise
        finally:
            self._end(run)
        return run

    def _end(self, run):
        """Score and keep the run, unless it failed."""
        self.running, told = None, ""
        try:
            if self.error is None:
                run.end()
                self.runs.append(run)
                told = result(run)
                if len(self.runs) > KEPT:
                    told += f" Run {self.runs.pop(0).number} made room for it: {KEPT} are kept."
        except Exception as error:
            self.error = error
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
            self.error = error
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

    def _moved(self):
        """A control was moved: what would be trained follows at once, and without runs the samples do."""
        self._show_plan()
        with LOCK:
            if not self.runs and self.running is None:
                self._drawing.preview(self.settings)
            self._live.paint()

    def _show_plan(self):
        settings = self.settings
        try:
            self._plan = plan(settings)
            self._note.value = left_out(self._plan)
        except (TypeError, ValueError) as problem:
            self._plan, self._note.value = None, refusal(problem)
        with LOCK:
            self._drawing.plan(settings, self._plan)
        self._show_buttons()

    def _show_buttons(self):
        going = self.running is not None
        self._train.disabled = going or self._plan is None
        self._stop.disabled = not going or self._stopping
        self._stop.description = "Stopping" if going and self._stopping else "Stop"
        self._remove.disabled = self._clear.disabled = not self.runs

    def _show_runs(self, told=""):
        """Bring the whole page up to date, after a run came, went or ended, which ``told`` tells of."""
        with LOCK:
            self._drawing.begin(self.runs, self.running, self.settings)
            self._live.paint()
        run = self.running
        self._bar.layout.visibility = "visible" if run else "hidden"
        self._bar.max, self._bar.value = (run.settings.steps, len(run.history)) if run else (1, 0)
        self._text.value = f"run {run.number} begins" if run else ""
        self._foot.value = failure(self.error) if self.error else paragraph(told)
        self._table.value = table(self.runs)
        self._show_buttons()

    def _show_progress(self, seconds):
        run, done = self.running, len(self.running.history)
        with LOCK:
            self._drawing.move(run)
            self._live.paint()
        self._bar.value = done
        left = seconds / done * (run.settings.steps - done)
        self._text.value = f"run {run.number}: step {done} of {run.settings.steps}, {left:.0f} s left"

    def _repr_mimebundle_(self, **kwargs):
        with LOCK:
            still = show(self.picture, self.sentence)
        return super()._repr_mimebundle_(**kwargs) | still._repr_mimebundle_()
