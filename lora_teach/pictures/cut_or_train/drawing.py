"""Cut or train: three ways to a change of rank r, and what each costs on names that were never seen.

What is drawn lies in ``data/cut_or_train.json``; `lora_teach.measure.truncate_update` says what is in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

from lora_teach.plots.die import die_axis
from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, make_room, panels, styled

import numpy as np

WAYS = {  # in the order in which they appear
    "weights cut": ("base", "tuned weights, cut to rank r"),
    "update cut": ("full", "full update, cut to rank r"),
    "trained": ("lora", "LoRA, trained at rank r"),
}


@dataclass
class CutOrTrain:
    """The picture and what moves in it."""

    picture: Picture
    here: object  # Line2D: where the slider stands
    dots: dict  # way -> Line2D: its loss there
    trained: list  # the artists of the line that is to be guessed


def guesses(guess, ranks: Sequence[int]) -> dict[int, float]:
    """Return a guess as ``{rank: loss}``.

    Args:
        guess: None; a number, which is about rank 1; ``{rank: loss}``; or a list with one loss a rank.
        ranks: The ranks of the picture.

    Raises:
        TypeError: Something else, or a loss that is not a number.
        ValueError: A list that is longer or shorter than ``ranks``.
    """
    if guess is None:
        return {}
    if isinstance(guess, Real):
        guess = {ranks[0]: guess}
    elif isinstance(guess, (list, tuple)):
        if len(guess) != len(ranks):
            raise ValueError(f"guess has {len(guess)} losses. Give {len(ranks)}, one for each of the ranks {ranks}.")
        guess = dict(zip(ranks, guess, strict=True))
    if not isinstance(guess, Mapping) or not all(isinstance(number, Real) for pair in guess.items() for number in pair):
        raise TypeError(f"guess={guess!r} is no guess. Use a loss for rank 1, {{1: 2.5, 8: 2.2}}, or one loss a rank.")
    return dict(sorted(guess.items()))


@styled
def draw(results: Mapping, ranks: Sequence[int], guess: Mapping[int, float], *, yours: Mapping | None = None):
    """Make the picture, the trained line hidden.

    Args:
        results: ``base`` and ``full`` (losses), ``lines`` (``{way: losses, one a rank}``), ``by_seed`` (one each).
        ranks: The ranks.
        guess: The learner's third line, ``{rank: loss}``.
        yours: More points from a run of one's own, ``{way: {rank: loss}}``, drawn as crosses.
    """
    fig = figure(9.0, 4.1)
    axes = panels(fig)
    dots, trained = {}, []
    for way, (role, label) in WAYS.items():
        seeds = np.array([lines[way] for lines in results["by_seed"]])  # (seeds, ranks)
        band = axes.fill_between(ranks, seeds.min(0), seeds.max(0), color=COLOURS[role], alpha=0.18, lw=0)
        drawn = axes.plot(ranks, results["lines"][way], **line(role, label=label))
        (dots[way],) = axes.plot([], [], **line(role, linestyle="", markersize=11))
        if way == "trained":
            trained = [band, *drawn]
    for number, (way, points) in enumerate((yours or {}).items()):
        look = {"color": COLOURS[WAYS[way][0]], "markersize": 10, "markeredgewidth": 2, "linestyle": ""}
        axes.plot(list(points), list(points.values()), "x", label="_" if number else "your own run", **look)
    for name, label, offset in (("base", "the base, before any training", 4), ("full", "the full update, uncut", -4)):
        axes.axhline(results[name], color=COLOURS["ghost"], linewidth=1.2, zorder=0)
        axes.annotate(
            label, (1, results[name]), xycoords=("axes fraction", "data"), xytext=(-4, offset), size=9, ha="right",
            textcoords="offset points", va="bottom" if offset > 0 else "top", color=COLOURS["base"],
        )  # fmt: skip
    for rank, loss in guess.items():
        diamond(axes, rank, loss, "your guess" if rank == min(guess) else "_")
    (here,) = axes.plot([1, 1], [0, 1], color=COLOURS["ink"], linewidth=1, transform=axes.get_xaxis_transform())
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(rank) for rank in ranks], minor=False)
    every = [loss for losses in results["lines"].values() for loss in losses]
    axes.set(
        xlabel="rank r of what is kept, or trained",
        ylabel="loss on test names (nats a letter)",
        xlim=(ranks[0] * 0.85, ranks[-1] * 1.2),
        ylim=(min(every) - 0.2, max(*every, results["base"]) + 0.15),
    )
    make_room(axes, guess.values())
    die_axis(axes)
    legend(axes, loc="center right", bbox_to_anchor=(1, 0.6))
    return CutOrTrain(Picture(fig, [here, dots, trained]), here, dots, trained)
