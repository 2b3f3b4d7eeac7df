"""The answer sheet: filled live while a language model trains, or by a slider from runs that were kept."""

from collections.abc import Mapping

from lora_teach.datasets import appointments
from lora_teach.live.explore import View, explore
from lora_teach.live.watch import watch
from lora_teach.measure.results import load_result
from lora_teach.pictures.answer_sheet import drawing as plots
from lora_teach.pictures.answer_sheet.numbers import COLUMNS, Sheet, exam_steps, stored
from lora_teach.plots import show
from lora_teach.training import History
from lora_teach.utils.validation import check_count

EXAMPLES = 6  # in a step
GOAL = 20  # right answers that the prediction asks for
PARTS = 2  # a sheet is filled in: the seen patterns, then the others
MOST_TOKENS = 40  # of an answer: room for the house format, and no waiting for one that rambles


class SheetRun:
    """What a run on the answer sheet gathered.

    Attributes:
        history: The `History` of its steps; ``history.stopped`` says so if they are fewer than planned.
        sheets: ``{step: Sheet}`` of the whole sheets.
        filling: The newest sheet, of which half may be filled, or None.
    """

    def __init__(self, exam, sheets: Mapping[int, Sheet] | None = None) -> None:
        self.exam, self.history, self.sheets = exam, History(), dict(sheets or {})
        self.filling = self.sheets[max(self.sheets)] if self.sheets else None

    def add(self, piece) -> None:
        """Take a step, or a sheet as far as it is filled."""
        if not isinstance(piece, Sheet):
            self.history.add(piece)
            return
        self.filling = piece
        if len(piece) == len(self.exam):
            self.sheets[len(self.history)] = piece

    def __len__(self) -> int:
        return len(self.history)


async def train_on_sheet(model, base, *, steps=20, every=5, exam=None, first=None, guess=None, **options) -> SheetRun:
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
    exam = appointments.exam() if exam is None else exam
    run = SheetRun(exam, None if first is None else {0: first})
    at = {*range(every, steps + 1, every), steps}
    work = exam_steps(base, model, exam, steps, at, **{"parts": PARTS, "most_tokens": MOST_TOKENS} | options)
    await watch(work, run, steps, lambda: Filling(exam, steps, guess))
    if len(run) < steps:
        run.history.stopped = f"stopped after step {len(run)} of {steps}"
    return run


class Filling:
    """The picture of a run as `watch` moves it on.

    Args:
        exam: The sentences.
        steps: The planned number.
        guess: In training examples, or None.
    """

    def __init__(self, exam, steps: int, guess=None) -> None:
        self.steps, self.guess = steps, guess
        place = None if guess is None else (guess / EXAMPLES, GOAL)
        self.drawn = plots.AnswerSheet(*_questions(exam), COLUMNS, steps, goal=GOAL, guess=place)
        self.picture = self.drawn.picture

    def update(self, run: SheetRun) -> None:
        """Move ticks, crosses and curves on."""
        if run.filling is not None:
            self.drawn.fill(run.filling.marks)
        self.drawn.draw_losses(run.history.loss)
        self.drawn.draw_scores({step: sheet.right() for step, sheet in run.sheets.items()})

    def sentence(self, run: SheetRun) -> str:
        """Tell how far the run came and how many answers are right."""
        done = len(run)
        begun = f"{done} steps" if done == self.steps else f"Ended after {done} of {self.steps} steps"
        if not run.sheets:
            return f"{begun}, before the first sheet was filled."
        step = max(run.sheets)
        guessed = "" if self.guess is None else f" Your guess for {GOAL} right: {self.guess} examples."
        return f"{begun}. {_told(step, run.sheets[step])}{guessed}"


class AnswerSheets(View):
    """A slider over the steps of a kept run, and buttons for its seed.

    Args:
        guess: After how many training examples 20 answers will be right.
        result: What ``load_result("answer_sheet")`` gives; None loads it.
    """

    def __init__(self, guess=None, result=None) -> None:
        result = result or load_result("answer_sheet")
        self.exam = appointments.exam(result["settings"]["sentences"])
        self.runs = {
            seed: {int(step): stored(self.exam, kept) for step, kept in run["sheets"].items()}
            for seed, run in result["results"]["runs"].items()
        }
        self._losses = {seed: run["loss"] for seed, run in result["results"]["runs"].items()}
        self.steps = sorted(next(iter(self.runs.values())))
        place = None if guess is None else (guess / EXAMPLES, GOAL)
        longest = max(self._losses.values(), key=max)
        self.drawn = plots.AnswerSheet(
            *_questions(self.exam), COLUMNS, self.steps[-1], goal=GOAL, guess=place, losses=longest
        )
        self.picture = self.drawn.picture

    def __call__(self, step, run):
        """Fill the sheet as it was after this step."""
        sheets = self.runs[run]
        self.drawn.fill(sheets[step].marks)
        self.drawn.draw_losses(self._losses[run][:step])
        self.drawn.draw_scores({at: sheet.right() for at, sheet in sheets.items() if at <= step})
        return _told(step, sheets[step])

    def twin(self, at=(0, 5, 20, 60)):
        """Four sheets of the first run side by side, for a saved notebook."""
        sheets = next(iter(self.runs.values()))
        shown = {f"step {step}": sheets[step] for step in self.steps if step in at}
        marks = {title: sheet.marks for title, sheet in shown.items()}
        counted = ", ".join(f"{sheet.right()} at {title}" for title, sheet in shown.items())
        figure = plots.multiples(marks, _questions(self.exam)[1], COLUMNS)
        return show(figure, f"Of {len(self.exam)} sentences every value is right in: {counted}. A tick is right.")

    @classmethod
    def example(cls, guess=None):
        """The explorer as notebook 07 shows it."""
        view = cls(guess)
        return explore(view, step=view.steps, run=list(view.runs), twin=view.twin())


def _questions(exam):
    return [appointment.sentence for appointment in exam], [appointment.seen for appointment in exam]


def _told(step: int, sheet: Sheet) -> str:
    total = sum(appointment.seen for appointment in sheet.exam)
    counts = ", ".join(f"{column} {sheet.count(column)}" for column in COLUMNS)
    return (
        f"After step {step}, {step * EXAMPLES} training examples: every value right in {sheet.right()} of {len(sheet)} "
        f"answers, {sheet.right(True)} of {total} in patterns of training and {sheet.right(False)} of "
        f"{len(sheet) - total} in patterns never seen. By column: {counts}."
    )
