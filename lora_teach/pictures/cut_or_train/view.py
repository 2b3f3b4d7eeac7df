"""Cut or train: three ways to a change of rank r, and what each costs on names that were never seen.

What is drawn lies in ``data/cut_or_train.json``; ``data/make_cut_or_train.py`` says what is in it.
"""

from collections.abc import Mapping

from lora_teach.live.explore import View
from lora_teach.measure.results import load_result
from lora_teach.plots.die import aloud, die_axis
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, log2_axis, make_room, panels, styled
from lora_teach.utils.validation import check_guess, check_guesses

import numpy as np

WAYS = {  # in the order in which they appear
    "weights cut": ("base", "tuned weights, cut to rank r"),
    "update cut": ("full", "full update, cut to rank r"),
    "trained": ("lora", "LoRA, trained at rank r"),
}


class CutOrTrain(View):
    """A rank slider, and a box to tick when the guess is made: then the third line appears.

    Args:
        guess: The learner's third line: a loss for rank 1, ``{rank: loss}``, or one loss a rank.
        yours: Points of the learner's own run, ``{way: {rank: loss}}``, drawn as crosses.
        result: What ``load_result("cut_or_train")`` gives; None loads it.

    Raises:
        TypeError: A guess of another form, or a loss in it that is no number.
        ValueError: A list of guesses that is not one a rank; a rank outside the picture, or a loss outside 0 to 10.
    """

    def __init__(self, guess=None, yours=None, result=None):
        self._made_of = guess, yours, result
        result = result or load_result("cut_or_train")
        self.results, self.language = result["results"], result["settings"]["language"]
        self.ranks = result["settings"]["ranks"]
        self.sliders = {"rank": self.ranks, "third_line": False}
        self._guess = guesses(guess, self.ranks)
        self._draw(yours or {})

    @styled
    def _draw(self, yours):
        """Make the picture."""
        fig, ranks, results = figure(9.0, 4.1), self.ranks, self.results
        axes = panels(fig)
        self.dots, self.trained = {}, []  # way -> Line2D: its loss where the slider stands; the third line's artists
        for way, (role, label) in WAYS.items():
            seeds = np.array([lines[way] for lines in results["by_seed"]])  # (seeds, ranks)
            band = axes.fill_between(ranks, seeds.min(0), seeds.max(0), color=COLOURS[role], alpha=0.18, lw=0)
            self.trained = [band, *axes.plot(ranks, results["lines"][way], **line(role, label=label))]  # the last way's
            (self.dots[way],) = axes.plot([], [], **line(role, linestyle="", markersize=11))
        for number, (way, points) in enumerate(yours.items()):
            look = {"color": COLOURS[WAYS[way][0]], "markersize": 10, "markeredgewidth": 2, "linestyle": ""}
            axes.plot(list(points), list(points.values()), "x", label="_" if number else "your own run", **look)
        levels = (("base", "the base, before any training", 4), ("full", "the full update, uncut", -4))
        for name, label, offset in levels:
            axes.axhline(results[name], color=COLOURS["ghost"], linewidth=1.2, zorder=0)
            axes.annotate(
                label, (1, results[name]), xycoords=("axes fraction", "data"), xytext=(-4, offset), size=9, ha="right",
                textcoords="offset points", va="bottom" if offset > 0 else "top", color=COLOURS["base"],
            )  # fmt: skip
        for rank, loss in self._guess.items():
            diamond(axes, rank, loss, "your guess" if rank == min(self._guess) else "_")
        (self.here,) = axes.plot([1, 1], [0, 1], color=COLOURS["ink"], lw=1, transform=axes.get_xaxis_transform())
        log2_axis(axes, ranks)
        every = [loss for losses in results["lines"].values() for loss in losses]
        axes.set(
            xlabel="rank r of what is kept, or trained",
            ylabel="loss on test names (nats a letter)",
            xlim=(ranks[0] * 0.85, ranks[-1] * 1.2),
            ylim=(min(every) - 0.2, max(*every, results["base"]) + 0.15),
        )
        make_room(axes, self._guess.values())
        die_axis(axes)
        legend(axes, loc="center right", bbox_to_anchor=(1, 0.6))
        self.picture = Picture(fig, [self.here, self.dots, self.trained])

    def losses(self, rank):
        """The three losses at a rank: ``{way: nats a letter}``."""
        place = self.ranks.index(rank)
        return {way: losses[place] for way, losses in self.results["lines"].items()}

    def move(self, rank, third_line):
        """Stand at this rank, with the third line or without."""
        losses = self.losses(rank)
        self.here.set_xdata([rank, rank])
        for way, dot in self.dots.items():
            dot.set_data([rank], [losses[way]])
        for artist in [*self.trained, self.dots["trained"]]:
            artist.set_visible(third_line)
        guessed = f" Your guess: {self._guess[rank]:.2f}." if rank in self._guess else ""
        return (
            f"{self.language}, rank {rank}: the tuned weights cut to it {aloud(losses['weights cut'])}, "
            f"the full update cut to it {aloud(losses['update cut'])}, trained at it "
            + (f"{aloud(losses['trained'])}." if third_line else "…?")
            + guessed
        )

    def static_figure(self):
        """Return all three lines."""
        whole = CutOrTrain(*self._made_of)
        whole.here.set_visible(False)
        one = self.losses(self.ranks[0])
        return show(
            whole.picture,
            f"At rank {self.ranks[0]} the tuned weights are worth {aloud(one['weights cut'])}, the cut update "
            f"{aloud(one['update cut'])}, and an update that was trained at that rank {aloud(one['trained'])}.",
        )


def guesses(guess, ranks):
    """Return a guess (None, a loss for the first rank, ``{rank: loss}``, or one loss a rank) as ``{rank: loss}``."""
    if isinstance(guess, Mapping):
        pairs = [
            (check_guess(rank, ranks[0], ranks[-1], "a rank"), check_guess(loss, 0, 10, "a loss in nats"))
            for rank, loss in guess.items()
        ]
        return dict(sorted(pair for pair in pairs if None not in pair))
    if isinstance(guess, (list, tuple)):
        return dict(zip(ranks, check_guesses(guess, len(ranks), 0, 10, "a loss in nats"), strict=True))
    loss = check_guess(guess, 0, 10, "a loss in nats")
    return {} if loss is None else {ranks[0]: loss}
