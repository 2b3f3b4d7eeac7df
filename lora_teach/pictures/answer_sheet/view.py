"""The answer sheet: filled live while a language model trains, or by a slider from runs that were kept."""

from lora_teach.datasets import appointments
from lora_teach.live.explore import View
from lora_teach.live.watch import watch
from lora_teach.measure.results import load_result
from lora_teach.pictures.answer_sheet.numbers import COLUMNS, SheetRun, exam_steps, stored
from lora_teach.plots import show
from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, styled
from lora_teach.utils.validation import check_count, check_guess

import numpy as np
from matplotlib.path import Path

EXAMPLES = 6  # in a step
GOAL = 20  # right answers that the prediction asks for
PARTS = 2  # a sheet is filled in: the seen patterns, then the others
MOST_TOKENS = 40  # of an answer: room for the house format, and no waiting for one that rambles
TICK = Path([(-0.5, -0.05), (-0.15, -0.45), (0.5, 0.5)])  # an open line: no letter of a font to be missing
HEADS = {True: "patterns of training", False: "patterns never seen"}
GAP = 2.0  # rows between the two groups, room for a heading


class AnswerSheets(View):
    """A slider over the steps of a kept run, and buttons for its seed.

    Args:
        guess: After how many training examples 20 answers will be right.
        result: What ``load_result("answer_sheet")`` gives; None loads it.
    """

    def __init__(self, guess=None, result=None):
        result = result or load_result("answer_sheet")
        runs = result["results"]["runs"]
        self.exam = appointments.exam(result["settings"]["sentences"])
        self.runs = {
            seed: {int(step): stored(self.exam, kept) for step, kept in run["sheets"].items()}
            for seed, run in runs.items()
        }
        self._losses = {seed: run["loss"] for seed, run in runs.items()}
        self.steps = sorted(next(iter(self.runs.values())))
        self.sliders = {"step": self.steps, "run": list(self.runs)}
        longest = max(self._losses.values(), key=max)
        self.drawn = DrawnSheet(self.exam, self.steps[-1], guess, longest)
        self.picture = self.drawn.picture

    def move(self, step, run):
        """Fill the sheet as it was after this step."""
        sheets = self.runs[run]
        scores = {at: sheet.right() for at, sheet in sheets.items() if at <= step}
        self.drawn.show(sheets[step].marks, self._losses[run][:step], scores)
        return _told(step, sheets[step])

    def static_figure(self, at=(0, 5, 20, 60)):
        """Return four sheets of the first run side by side."""
        sheets = next(iter(self.runs.values()))
        shown = {f"step {step}": sheets[step] for step in self.steps if step in at}
        counted = ", ".join(f"{sheet.right()} at {title}" for title, sheet in shown.items())
        drawn = draw_sheets({title: sheet.marks for title, sheet in shown.items()}, self.exam)
        return show(drawn, f"Of {len(self.exam)} sentences every value is right in: {counted}. A tick is right.")


async def train_on_sheet(model, base, *, steps=20, every=5, exam=None, first=None, guess=None, **options):
    """Train on the appointments while the answer sheet fills, with loss curve, progress and a Stop button.

    ``run = await train_on_sheet(…)`` in a cell. Stop ends the run after the step, or the half sheet, that it is at.

    Args:
        model: A LoRAModel around ``base.model``.
        base: A `lora_teach.bases.registry.TextBase`.
        steps: Number of updates, of 6 examples each.
        every: Steps between two sheets; the last step always has one.
        exam: The sentences; None means `appointments.exam()`.
        first: The sheet before the first step, if it has been sat already; it stands there until the next.
        guess: After how many training examples 20 answers will be right: the learner's, drawn as a diamond.
        options: The other options of `lora_teach.pictures.answer_sheet.numbers.exam_steps`, such as ``lr``.

    Raises:
        NonFiniteLoss: From `training_steps`; what was gathered is shown first.
    """
    check_count("steps", steps)
    check_count("every", every)
    guess = _checked(guess)
    exam = appointments.exam() if exam is None else exam
    run = SheetRun(exam, None if first is None else {0: first})
    at = {*range(every, steps + 1, every), steps}
    work = exam_steps(base, model, exam, steps, at, **{"parts": PARTS, "most_tokens": MOST_TOKENS} | options)
    await watch(work, run, steps, lambda: Filling(exam, steps, guess))
    if len(run) < steps:
        run.history.stopped = f"stopped after step {len(run)} of {steps}"
    return run


class Filling:
    """The picture of a run as `watch` moves it on; ``guess`` is in training examples, or None."""

    def __init__(self, exam, steps, guess=None):
        self.steps, self.guess = steps, _checked(guess)
        self.drawn = DrawnSheet(exam, steps, guess)
        self.picture = self.drawn.picture

    def update(self, run):
        """Move ticks, crosses and curves on."""
        scores = {step: sheet.right() for step, sheet in run.sheets.items()}
        self.drawn.show(None if run.filling is None else run.filling.marks, run.history.loss, scores)

    def sentence(self, run):
        """Tell how far the run came and how many answers are right."""
        done = len(run)
        begun = f"{done} steps" if done == self.steps else f"Ended after {done} of {self.steps} steps"
        if not run.sheets:
            return f"{begun}, before the first sheet was filled."
        step = max(run.sheets)
        guessed = "" if self.guess is None else f" Your guess for {GOAL} right: {self.guess:g} examples."
        return f"{begun}. {_told(step, run.sheets[step])}{guessed}"


def _checked(guess):
    return check_guess(guess, 0, 10**6, "a number of training examples")


class Marks:
    """The ticks, crosses and open dots of one sheet, drawn into axes; ``seen`` says which patterns were trained on."""

    def __init__(self, axes, seen, size=6.5):
        seen = np.asarray(seen, dtype=bool)
        self.places = np.arange(len(seen)) + np.where(seen | ~seen.any(), 0.0, GAP)  # y of each sentence, downwards
        options = {"linestyle": "", "clip_on": False}
        (self.right,) = axes.plot(
            [],
            [],
            marker=TICK,
            color=COLOURS["best"],
            markersize=size,
            markeredgewidth=1.8,
            fillstyle="none",
            **options,
        )
        (self.wrong,) = axes.plot(
            [], [], "x", color=COLOURS["full"], markersize=size - 1.5, markeredgewidth=1.5, **options
        )
        (self.open,) = axes.plot([], [], ".", color=COLOURS["ghost"], markersize=3, **options)
        axes.set(xlim=(-0.5, len(COLUMNS) - 0.5), ylim=(self.places[-1] + 0.7, self.places[0] - 0.7))
        axes.set_xticks(range(len(COLUMNS)), COLUMNS)
        axes.xaxis.tick_top()
        axes.tick_params(axis="x", length=0, pad=2)
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(False)

    def fill(self, marks):
        """Show the marks of the first sentences, bool ``(answered, columns)``; the others stay open."""
        answered = len(marks)
        rest = np.indices((len(self.places) - answered, len(COLUMNS))).reshape(2, -1)
        opened = rest[0] + answered, rest[1]
        for drawn, cells in ((self.right, np.nonzero(marks)), (self.wrong, np.nonzero(~marks)), (self.open, opened)):
            drawn.set_data(cells[1], self.places[cells[0]])


class DrawnSheet:
    """One sheet with its sentences, the loss beside it and below that the number of right answers by step.

    ``guess``: after how many training examples GOAL answers will be right. ``losses``: a finished run's, drawn thin.
    """

    def __init__(self, exam, steps, guess=None, losses=None):
        guess = _checked(guess)
        self.steps, self.top = steps, max(losses) if losses else 3.0
        place = None if guess is None else (guess / EXAMPLES, GOAL)
        seen = np.array([one.seen for one in exam], dtype=bool)
        self._draw([one.sentence for one in exam], seen, place, losses)
        self.show(np.zeros((0, len(COLUMNS)), dtype=bool), [], {})

    @styled
    def _draw(self, sentences, seen, guess, losses):
        fig = figure(10.0, 5.6)
        fig.set_layout_engine("none")  # long sentences beside narrow columns: no solver finds a place for both
        loss, score = fig.add_axes((0.65, 0.57, 0.33, 0.36)), fig.add_axes((0.65, 0.1, 0.33, 0.36))
        sheet = fig.add_axes((0.355, 0.02, 0.21, 0.92))
        self.marks = Marks(sheet, seen)
        sheet.set_yticks(self.marks.places, sentences, fontsize=7.5)
        sheet.tick_params(axis="y", length=0, labelcolor=COLOURS["ink"])
        for kind, head in HEADS.items():
            if (seen == kind).any():
                top = self.marks.places[seen == kind][0] - 0.85
                sheet.text(-0.6, top, head, fontsize=8.5, fontweight="bold", ha="right", va="center")
        foot = self.marks.places[-1] + 1.15
        sheet.set_ylim(foot + 0.45, -1.5)
        sheet.text(-0.6, foot, f"right, of {len(seen)}", fontsize=8.5, ha="right", va="center")
        self._totals = [
            sheet.text(column, foot, "", fontsize=9, ha="center", va="center") for column in range(len(COLUMNS))
        ]
        for axes in (loss, score):
            axes.grid(True)
            axes.set_xlim(0, self.steps)
        if losses:
            loss.plot(range(1, len(losses) + 1), losses, color=COLOURS["ghost"], linewidth=1.2)
        (self._loss,) = loss.plot([], [], **line("lora", marker=""))
        loss.set(ylabel="loss (nats a token)", ylim=(0, 1.05 * self.top), title="loss on the answers of each batch")
        (self._score,) = score.plot([], [], **line("lora", clip_on=False))
        score.axhline(GOAL, color=COLOURS["base"], linewidth=1, linestyle=":")
        score.set(
            xlabel="step (6 examples each)", ylim=(0, len(seen)), ylabel=f"sentences, of {len(seen)}",
            title=f"every value right; dotted: {GOAL}",
        )  # fmt: skip
        score.set_yticks(range(0, len(seen) + 1, 4))
        if guess is not None:
            legend(score, handles=[diamond(score, *guess)], loc="lower right")
            score.set_xlim(0, max(self.steps, guess[0]))
        self._axes = loss
        self.picture = Picture(
            fig, [self.marks.right, self.marks.wrong, self.marks.open, self._totals, self._loss, self._score]
        )

    def show(self, marks, losses, scores):
        """Show a sheet and its run so far; the loss axis grows where they leave it.

        Args:
            marks: bool ``(answered, columns)``, under each column how many are right; None leaves them as they are.
            losses: One a step, from step 1.
            scores: How many answers were right after which steps.
        """
        if marks is not None:
            self.marks.fill(marks)
            for column, total in enumerate(self._totals):
                total.set_text(str(int(marks[:, column].sum())) if len(marks) else "")
        self._score.set_data(list(scores), list(scores.values()))
        self._loss.set_data(range(1, len(losses) + 1), losses)
        if len(losses) and max(losses) > self.top:
            self.top = max(losses)
            self._axes.set_ylim(0, 1.05 * self.top)
            self.picture.background_changed()


@styled
def draw_sheets(sheets, exam):
    """Draw sheets of an exam beside its sentences, ``{title: marks}``, bool ``(sentences, columns)`` each."""
    width, words = 1.85, 3.6  # inches: a sheet, the sentences
    whole = words + width * len(sheets)
    fig = figure(whole, 4.6)
    fig.set_layout_engine("none")
    seen = np.array([one.seen for one in exam], dtype=bool)
    for place, (title, marks) in enumerate(sheets.items()):
        axes = fig.add_axes(((words + width * (place + 0.1)) / whole, 0.02, 0.8 * width / whole, 0.84))
        drawn = Marks(axes, seen, size=6)
        drawn.fill(marks)
        axes.set_yticks(drawn.places, [one.sentence if place == 0 else "" for one in exam], fontsize=7.5)
        axes.tick_params(axis="y", length=0, labelcolor=COLOURS["ink"])
        axes.tick_params(axis="x", labelsize=8)  # or the heads touch
        axes.set_ylim(drawn.places[-1] + 0.7, -1.5)
        axes.set_title(title, loc="center", pad=8)
        for kind, head in HEADS.items():
            if (seen == kind).any():
                right, of = int(marks[seen == kind].all(axis=1).sum()), int((seen == kind).sum())
                top = drawn.places[seen == kind][0] - 0.9
                axes.text((len(COLUMNS) - 1) / 2, top, f"{head}: {right} of {of}", fontsize=8, ha="center", va="center")
    return fig


def _told(step, sheet):
    total = sum(appointment.seen for appointment in sheet.exam)
    counts = ", ".join(f"{column} {sheet.count(column)}" for column in COLUMNS)
    return (
        f"After step {step}, {step * EXAMPLES} training examples: every value right in {sheet.right()} of {len(sheet)} "
        f"answers, {sheet.right(True)} of {total} in patterns of training and {sheet.right(False)} of "
        f"{len(sheet) - total} in patterns never seen. By column: {counts}."
    )
