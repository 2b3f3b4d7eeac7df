"""The answer sheet: 24 sentences, four marks each, as ticks and crosses, beside the loss of the run that fills it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.path import Path

from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, styled

TICK = Path([(-0.5, -0.05), (-0.15, -0.45), (0.5, 0.5)])  # an open line: no letter of a font to be missing
HEADS = {True: "patterns of training", False: "patterns never seen"}
GAP = 2.0  # rows between the two groups, room for a heading


@dataclass
class Marks:
    """The moving parts of one sheet."""

    places: np.ndarray  # y of each sentence
    right: object  # Line2D of ticks
    wrong: object  # Line2D of crosses
    open: object  # Line2D of dots: not answered yet
    columns: int

    def fill(self, marks: np.ndarray) -> None:
        """Show the marks of the first sentences, bool ``(answered, columns)``; the others stay open."""
        answered = len(marks)
        self.right.set_data(*self._points(np.nonzero(marks)))
        self.wrong.set_data(*self._points(np.nonzero(~marks)))
        rest = np.indices((len(self.places) - answered, self.columns)).reshape(2, -1)
        self.open.set_data(*self._points((rest[0] + answered, rest[1])))

    def _points(self, cells):
        rows, columns = cells
        return columns, self.places[rows]


def places(seen: Sequence[bool]) -> np.ndarray:
    """Return the height of each row, downwards from 0, with a gap where seen patterns end."""
    seen = np.asarray(seen, dtype=bool)
    return np.arange(len(seen)) + np.where(seen, 0.0, GAP) if seen.any() else np.arange(len(seen), dtype=float)


def marks_in(axes, seen: Sequence[bool], columns: Sequence[str], size: float = 6.5) -> Marks:
    """Draw an empty sheet into axes and return its moving parts."""
    rows = places(seen)
    options = {"linestyle": "", "clip_on": False}
    (right,) = axes.plot(
        [], [], marker=TICK, color=COLOURS["best"], markersize=size, markeredgewidth=1.8, fillstyle="none", **options
    )
    (wrong,) = axes.plot([], [], "x", color=COLOURS["full"], markersize=size - 1.5, markeredgewidth=1.5, **options)
    (open_,) = axes.plot([], [], ".", color=COLOURS["ghost"], markersize=3, **options)
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(rows[-1] + 0.7, rows[0] - 0.7))
    axes.set_xticks(range(len(columns)), columns)
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0, pad=2)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return Marks(rows, right, wrong, open_, len(columns))


class AnswerSheet:
    """One sheet with its sentences, the loss beside it and below that the number of right answers by step.

    Args:
        sentences: The exam's.
        seen: Whether each stands in a pattern of training; the seen ones first.
        columns: What is marked.
        steps: The length of the step axes.
        goal: A dotted line at so many right answers.
        guess: ``(step, right answers)`` of the learner, or None.
        losses: The whole of a finished run's losses, drawn thin, or None for a run that is still to come.

    Attributes:
        picture: The `Picture`.
    """

    def __init__(self, sentences, seen, columns, steps, *, goal=20, guess=None, losses=None) -> None:
        self.steps, self.top = steps, max(losses) if losses else 3.0
        self._draw(sentences, np.asarray(seen, dtype=bool), columns, goal, guess, losses)

    @styled
    def _draw(self, sentences, seen, columns, goal, guess, losses):
        fig = figure(10.0, 5.6)
        fig.set_layout_engine("none")  # long sentences beside narrow columns: no solver finds a place for both
        loss, score = fig.add_axes((0.65, 0.57, 0.33, 0.36)), fig.add_axes((0.65, 0.1, 0.33, 0.36))
        sheet = fig.add_axes((0.355, 0.02, 0.21, 0.92))
        self.marks = marks_in(sheet, seen, columns)
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
            sheet.text(column, foot, "", fontsize=9, ha="center", va="center") for column in range(len(columns))
        ]
        for axes in (loss, score):
            axes.grid(True)
            axes.set_xlim(0, self.steps)
        if losses:
            loss.plot(range(1, len(losses) + 1), losses, color=COLOURS["ghost"], linewidth=1.2)
        (self._loss,) = loss.plot([], [], **line("lora", marker=""))
        loss.set(ylabel="loss (nats a token)", ylim=(0, 1.05 * self.top), title="loss on the answers of each batch")
        (self._score,) = score.plot([], [], **line("lora", clip_on=False))
        score.axhline(goal, color=COLOURS["base"], linewidth=1, linestyle=":")
        score.set(
            xlabel="step (6 examples each)", ylim=(0, len(seen)), ylabel=f"sentences, of {len(seen)}",
            title="every value right",
        )  # fmt: skip
        score.set_yticks(range(0, len(seen) + 1, 4))
        if guess is not None:
            legend(score, handles=[diamond(score, *guess)], loc="lower right")
            score.set_xlim(0, max(self.steps, guess[0]))
        self._axes = loss
        self.picture = Picture(
            fig, [self.marks.right, self.marks.wrong, self.marks.open, self._totals, self._loss, self._score]
        )
        self.fill(np.zeros((0, len(columns)), dtype=bool))

    def fill(self, marks: np.ndarray) -> None:
        """Show marks, bool ``(answered, columns)``, and under each column how many are right."""
        self.marks.fill(marks)
        for column, total in enumerate(self._totals):
            total.set_text(str(int(marks[:, column].sum())) if len(marks) else "")

    def draw_losses(self, losses: Sequence[float]) -> None:
        """Show these losses, one a step from step 1; the axis grows where they leave it."""
        self._loss.set_data(range(1, len(losses) + 1), losses)
        if losses and max(losses) > self.top:
            self.top = max(losses)
            self._axes.set_ylim(0, 1.05 * self.top)
            self.picture.background_changed()

    def draw_scores(self, scores: Mapping[int, int]) -> None:
        """Show how many answers were right after which steps."""
        self._score.set_data(list(scores), list(scores.values()))


@styled
def multiples(sheets: Mapping[str, np.ndarray], seen: Sequence[bool], columns: Sequence[str]):
    """Draw sheets side by side, without their sentences.

    Args:
        sheets: ``{title: marks}``, bool ``(sentences, columns)`` each.
        seen: Whether each sentence stands in a pattern of training.
        columns: What is marked.
    """
    fig = figure(2.3 * len(sheets), 4.6)
    fig.set_layout_engine("none")
    seen = np.asarray(seen, dtype=bool)
    for place, (title, marks) in enumerate(sheets.items()):
        axes = fig.add_axes(((place + 0.15) / len(sheets), 0.02, 0.7 / len(sheets), 0.84))
        drawn = marks_in(axes, seen, columns, size=6)
        drawn.fill(marks)
        axes.set_yticks([])
        axes.tick_params(axis="x", labelsize=8)  # or the heads touch
        axes.set_ylim(drawn.places[-1] + 0.7, -1.5)
        axes.set_title(title, loc="center", pad=8)
        for kind, head in HEADS.items():
            if (seen == kind).any():
                right, of = int(marks[seen == kind].all(axis=1).sum()), int((seen == kind).sum())
                top = drawn.places[seen == kind][0] - 0.9
                axes.text((len(columns) - 1) / 2, top, f"{head}: {right} of {of}", fontsize=8, ha="center", va="center")
    return fig
