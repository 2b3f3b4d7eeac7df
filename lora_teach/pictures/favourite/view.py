"""Favourite: twelve names, letter by letter, while a judge's reward is all that the model learns from."""

from functools import lru_cache

from lora_teach.bases import load_name_gpt
from lora_teach.datasets import names
from lora_teach.live.explore import View
from lora_teach.measure.judging import ENGLISH, OTHER, tastes
from lora_teach.measure.rewarding import LANGUAGE
from lora_teach.pictures.favourite.numbers import EVERY, NAMES, SHOWN, UPDATES, favourite_run
from lora_teach.plots import show
from lora_teach.plots.name_tiles import Board, Written, draw_key, judges_key
from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, diamond, figure, line, panels, styled
from lora_teach.utils.validation import check_guess

PENALTIES = [0.0, 0.03, 0.1, 0.3]  # rewards a nat
COLUMNS = [0, 16, 24, UPDATES]  # updates of the saved picture
ROWS = [0.0, 0.1]  # its penalties


class Favourite(View):
    """Names, success and distinct names over a run that learns from a reward; moving the penalty trains another run.

    Args:
        guess: How many of the last 32 names the learner expects to be different, without a penalty.
        seed: Decides the runs.

    Raises:
        TypeError, ValueError: A guess that is no number, or lies outside 1 to 32.
    """

    sliders = {"penalty": PENALTIES, "update": (0, UPDATES, UPDATES, EVERY)}

    @styled
    def __init__(self, guess=None, seed=0):
        self.guess, self.seed = check_guess(guess, 1, NAMES, "a number of names"), seed
        self.base, self.run = load_name_gpt(), lru_cache(maxsize=None)(self._run)
        languages = {ENGLISH: "English", OTHER: LANGUAGE}
        self._judges = {sign: names.Judge(names.load(language).train) for sign, language in languages.items()}
        made = figure(11, 4.2)
        left, right = panels(made, columns=2, width_ratios=[1.25, 1])
        self.board = Board(left, SHOWN // 2, columns=2, letters=16, size=12)
        draw_key(left, judges_key("English", LANGUAGE))
        self.curves = {
            "success": right.plot([], [], **line("lora", marker="", label="share that the judge likes"))[0],
            "distinct": right.plot([], [], **line("full", marker="", label="share of different names"))[0],
        }
        (self.here,) = right.plot([0, 0], [0, 1], color=COLOURS["ink"], lw=1, transform=right.get_xaxis_transform())
        _axes(right)
        right.set_title(f"The {NAMES} names of each update")
        self.mark = diamond(right, UPDATES, None if self.guess is None else self.guess / NAMES)
        handles = [*self.curves.values(), *([self.mark] if self.mark else [])]
        made.legend(handles=handles, loc="outside lower right", ncols=3, frameon=False, fontsize=9)
        self.picture = Picture(made, [self.board.artists, self.curves, self.here, [self.mark] if self.mark else []])

    def _run(self, penalty):
        return favourite_run(self.base, penalty, self.seed)

    def move(self, penalty, update):
        """Train, or find, the run with this penalty and stand at this update."""
        run = self.run(penalty)
        self.board.show(self.tiles(run, update))
        self._draw_curves(self.curves, run)
        self.here.set_xdata([update, update])
        if self.mark is not None:
            self.mark.set_visible(penalty == 0)
        how = f"With a penalty of {penalty:g}" if penalty else "Without a penalty"
        return f"{how}, {self.says(run, update)}" + self.your_guess(
            "g", unit=" different names", shown=penalty == 0 and update == UPDATES
        )

    def says(self, run, update):
        """Tell what has become of the names at one update of a run."""
        score = run.score(update)
        return (
            f"update {update}: the judge likes {score.reward:.0%} of the names; {round(score.distinct * NAMES)} of "
            f"{NAMES} are different; {max(score.kl, 0):.1f} nats a name from the base."
        )

    def tiles(self, run, update):
        """Return the twelve names at this update, each letter with the judge whom it pleases."""
        written = run.written[run.updates.index(update)]
        return [Written(name, tastes(name, self._judges)) for name in written]

    def _draw_curves(self, curves, run):
        values = {"success": [one.reward for one in run.scores], "distinct": [one.distinct for one in run.scores]}
        for what, curve in curves.items():
            curve.set_data(range(len(run.scores)), values[what])

    @styled
    def draw_columns(self):
        """Return a Figure: a row without and one with a penalty, names at four updates each, and the two shares."""
        made = figure(12, 6.2)
        grid = made.add_gridspec(len(ROWS), len(COLUMNS) + 1, width_ratios=[1] * len(COLUMNS) + [1.25])
        for row, penalty in enumerate(ROWS):
            run = self.run(penalty)
            for column, update in enumerate(COLUMNS):
                axes = made.add_subplot(grid[row, column])
                how = f"penalty {penalty:g}\n" if penalty else "no penalty\n"
                axes.set_title(f"{how if column == 0 else chr(10)}update {update}")
                Board(axes, SHOWN, letters=12, size=9).show(self.tiles(run, update))
            axes = made.add_subplot(grid[row, -1])
            axes.grid(True)
            curves = {
                "success": axes.plot([], [], **line("lora", marker="", label="share that the judge likes"))[0],
                "distinct": axes.plot([], [], **line("full", marker="", label="share of different names"))[0],
            }
            self._draw_curves(curves, run)
            _axes(axes)
            axes.set_title(f"the {NAMES} names of each update")
            if row == 0:
                mark = diamond(axes, UPDATES, None if self.guess is None else self.guess / NAMES)
        handles = [*judges_key("English", LANGUAGE), *curves.values(), *([mark] if mark else [])]
        made.legend(handles=handles, loc="outside upper right", ncols=6, frameon=False, fontsize=9)
        return made

    def static_figure(self):
        """Return both runs side by side, names and shares, and tell how each ends."""
        ends = [
            f"{f'With a penalty of {penalty:g}' if penalty else 'Without a penalty'}, "
            f"{self.says(self.run(penalty), UPDATES)}"
            for penalty in ROWS
        ]
        lead = "The same twelve throws of the dice while rank 8 learns from the reward. "
        return show(self.draw_columns(), lead + " ".join(ends) + self.your_guess("g", unit=" different names"))


def _axes(axes):
    axes.set(xlabel="update", xlim=(0, UPDATES), ylim=(0, 1.04), yticks=[0, 0.25, 0.5, 0.75, 1])
    axes.set_yticklabels(["0", "¼", "½", "¾", "1"])
