"""BrokenRuns: the loss of a training with one mistake in it, beside the same without."""

from functools import lru_cache

from lora_teach.datasets.names import MAX_LETTERS as LONGEST
from lora_teach.live.explore import View
from lora_teach.pictures.broken_runs.numbers import MISTAKES, STEPS, new_run
from lora_teach.plots import COLOURS, Picture, diamond, figure, legend, line, panels, show, styled
from lora_teach.plots.loss_curve import smoothed
from lora_teach.utils.validation import check_guess

TOP = 6.0  # nats: the end of the loss's axis; what climbs higher leaves the picture
WINDOW = 10  # steps, of the mean that is drawn


class BrokenRuns(View):
    """A run's loss by step with the mistake on the button, in orange, and without it, in grey.

    Args:
        guess: The loss that the learner predicts for the end of the run with a learning rate of 0.00002, in nats.

    Raises:
        TypeError: ``guess`` is no number.
        ValueError: ``guess`` is not from 0 to 6.
    """

    sliders = {"mistake": (list(MISTAKES), "lr 0.00002")}
    labels = {"mistake": "the mistake"}

    def __init__(self, guess=None):
        self.guess = check_guess(guess, 0, TOP, "a loss in nats")
        self.losses = lru_cache(maxsize=len(MISTAKES))(lambda mistake: new_run(mistake).train())
        self._draw()

    @styled
    def _draw(self):
        made = figure(8, 3.4)
        axes = panels(made)
        _plain(axes)
        axes.plot(*_points(self.losses("none")), **line("base", marker="", label="no mistake"))
        (self.curve,) = axes.plot([], [], **line("full", marker="", label="this run"))
        diamond(axes, STEPS, self.guess)
        legend(axes, loc="upper right")
        self.picture = Picture(made, [self.curve])

    def move(self, mistake):
        """Show the run with this mistake."""
        losses = self.losses(mistake)
        self.curve.set_data(*_points(losses))
        base = _end(self.losses("alpha 0"))
        return _said(mistake, losses, base) + self.your_guess(unit=" nats", shown=mistake == "lr 0.00002")

    def static_figure(self):
        """All mistakes as small multiples."""
        broken = {mistake: self.losses(mistake) for mistake in MISTAKES if mistake != "none"}
        ends = "; ".join(f"{mistake}: {_end(losses):.2f}" for mistake, losses in broken.items())
        sentence = (
            f"Loss over {STEPS} steps with one mistake (orange) and with none (grey). Last {WINDOW}, mean in nats: "
            f"none: {_end(self.losses('none')):.2f}; {ends}. Pale line: guessing. "
            f"A loss above {TOP:g} is drawn at {TOP:g}.{self.your_guess(unit=' nats')}"
        )
        return show(draw_losses(broken, self.losses("none"), {"lr 0.00002": self.guess}), sentence)


@styled
def draw_losses(runs, healthy=None, guesses=None):
    """A panel for each of ``{title: losses}``, three in a row; ``healthy``, a run's losses, is grey in each of them."""
    rows = (len(runs) + 2) // 3
    made = figure(9, 0.5 + 2.1 * rows)
    grid = panels(made, rows, min(3, len(runs)), sharex=True, sharey=True, squeeze=False)
    for axes, (title, losses) in zip(grid.flat, runs.items(), strict=False):
        _plain(axes)
        axes.set(title=title, xlabel="", ylabel="")
        if healthy is not None:
            axes.plot(*_points(healthy), **line("base", marker="", label="no mistake"))
        axes.plot(*_points(losses), **line("full", marker="", label="this run"))
        diamond(axes, STEPS, (guesses or {}).get(title))
    for axes in grid[-1]:
        axes.set_xlabel("step")
    for row in grid:
        row[0].set_ylabel("loss, nats")
    if healthy is not None:
        legend(grid[0][0], loc="upper left")
    return made


def _plain(axes):
    axes.set(xlabel="step", ylabel="loss, nats a digit", xlim=(0, STEPS), ylim=(0, TOP))
    axes.axhline(2.303, color=COLOURS["ghost"], linewidth=1, zorder=0)  # ln 10: guessing among ten digits


def _points(losses):
    """Return steps and smoothed losses; what leaves the picture is drawn at its edge."""
    curve = smoothed(losses, WINDOW)
    return range(1, len(curve) + 1), [min(loss, TOP) if loss == loss else TOP for loss in curve]


def _end(losses):
    last = losses[-WINDOW:]
    return sum(last) / len(last)


def _said(mistake, losses, base):
    told = "No mistake" if mistake == "none" else f"Mistake: {mistake}"
    peak = f"; the highest loss was {max(losses):,.0f}" if max(losses) > TOP else ""
    return f"{told}. The last {WINDOW} batches cost {_end(losses):.2f} nats on average, the base {base:.2f}{peak}."


@styled
def draw_lengths(written, guess=None):
    """How long names are, a panel for each of ``{title: names}``; the mean is a line, the guess is of the first."""
    guess = check_guess(guess, 1, LONGEST, "a number of letters")
    made = figure(9, 2.6)
    grid = panels(made, 1, len(written), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (title, names) in zip(grid, written.items(), strict=True):
        lengths = [len(name) for name in names]
        shares = [lengths.count(length) / len(lengths) for length in range(1, LONGEST + 1)]
        axes.bar(range(1, LONGEST + 1), shares, color=COLOURS["lora"])
        axes.axvline(sum(lengths) / len(lengths), **line("base", marker=""))
        axes.set(title=title, xlabel="letters", xlim=(0.3, LONGEST + 0.7), xticks=[1, 4, 8, 12, 16])
    grid[0].set_ylabel("share of the names")
    diamond(grid[0], guess, 0.02)
    if guess is not None:
        legend(grid[0], loc="upper left")
    return made
