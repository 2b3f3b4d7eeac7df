"""Valleys: loss after a short run by learning rate, one line a rank; beside it where each valley's bottom lies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from math import inf, log

import numpy as np

from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, MARKERS, diamond, figure, legend, line, panels, styled

ROLES = {1: "fourth", 4: "lora", 16: "third", 64: "other"}  # as in the race; its full fine-tuning has no rank
LOW, TOP = 0.01, 5.0  # nats: the loss axis, unless a valley is deeper; what lies above is drawn at its edge
CHANCE = log(10)  # nats: guessing among ten digits


def roles(ranks: Sequence[int]) -> dict[int, str]:
    """The role in which each rank is drawn."""
    spare = cycle(("full", "lora", "third", "other", "fourth"))
    return {rank: ROLES.get(rank) or next(spare) for rank in ranks}


class Panel:
    """One panel of valleys.

    Args:
        axes: Where.
        ranks: One line each.
        lrs: The learning rates, rising.
        low: Where the loss axis begins, in nats.

    Attributes:
        lines: ``{rank: Line2D}``.
        marks: ``{rank: Line2D}``: a large mark at the valley's bottom, with a plumb line.
        beyond: Line2D: crosses at the upper edge, for runs that blew up or ended above it.
        words: The text beside the first of these.
    """

    def __init__(self, axes, ranks, lrs, low: float = LOW) -> None:
        self.axes, self.lines, self.marks = axes, {}, {}
        (self.beyond,) = axes.plot([], [], "x", color=COLOURS["ink"], markersize=8, markeredgewidth=2, clip_on=False)
        self.beyond.set_in_layout(False)
        for rank, role in roles(ranks).items():
            (self.lines[rank],) = axes.plot([], [], **line(role, markersize=5, label=f"rank {rank}"))
            (self.marks[rank],) = axes.plot(
                [], [], **line(role, linestyle="-", linewidth=1, markersize=11, markevery=[0], zorder=3)
            )
        axes.axhline(CHANCE, color=COLOURS["base"], linestyle=":", linewidth=1.2)
        axes.annotate("chance", (1, CHANCE), (-3, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
                      ha="right", size=9, color=COLOURS["base"])  # fmt: skip
        self.words = axes.annotate(
            f"blew up, or beyond {TOP:g}", (lrs[0], TOP), (-10, -2), textcoords="offset points", ha="right", va="top",
            size=9, visible=False,
        )  # fmt: skip
        axes.set_yscale("log")
        axes.set_ylim(low, TOP)
        _ticks(axes.yaxis, low, TOP)
        axes.set_xscale("log")
        _lr_axis(axes.xaxis, axes.set_xlim, lrs)
        axes.set(xlabel="learning rate", ylabel="loss after the run (nats)")

    def moving(self) -> list:
        """What `update` moves."""
        return [self.lines, self.marks, self.beyond, self.words]

    def update(self, losses: Mapping, bottoms: Mapping) -> None:
        """Draw these valleys.

        Args:
            losses: ``{rank: {lr: loss}}``, as many as there are; inf for a run that blew up.
            bottoms: ``{rank: lr}`` where they are known.
        """
        beyond = []
        for rank, drawn in self.lines.items():
            points = sorted(losses.get(rank, {}).items())
            drawn.set_data([lr for lr, _ in points], [min(loss, TOP) for _, loss in points])
            beyond += [lr for lr, loss in points if loss >= TOP]
            lr = bottoms.get(rank)
            depth = [] if lr is None else [losses[rank][lr], 1e-9]  # the plumb line ends below the axis
            self.marks[rank].set_data([lr] * len(depth), depth)
        self.beyond.set_data(beyond, [TOP] * len(beyond))
        self.words.set_visible(bool(beyond))
        if beyond:
            self.words.xy = (min(beyond), TOP)
            left = self.axes.transData.transform(self.words.xy)[0] > self.axes.bbox.x0 + self.axes.bbox.width / 2
            self.words.set(ha="right" if left else "left")
            self.words.xyann = (-10 if left else 10, -2)


@dataclass
class Valleys:
    """The picture and what moves in it."""

    picture: Picture
    panel: Panel
    title: object  # Text over the valleys
    here: tuple  # Line2D in both panels: the learning rate at which the slider stands
    dots: dict  # rank -> Line2D: a ring around the run at that learning rate
    joined: object  # Line2D: the bottoms by rank
    bottoms: dict  # rank -> Line2D: one of them

    def update(self, title: str, losses: Mapping, bottoms: Mapping, lr: float | None = None) -> None:
        """Draw one rule's valleys; ``lr`` is where the slider stands. The rest is as `Panel.update` takes it."""
        self.title.set_text(title)
        self.panel.update(losses, bottoms)
        self.joined.set_data(list(bottoms), list(bottoms.values()))
        for rank, mark in self.bottoms.items():
            mark.set_data([rank], [bottoms[rank]]) if rank in bottoms else mark.set_data([], [])
        for axis, drawn in zip("xy", self.here, strict=True):
            drawn.set_visible(lr is not None)
            if lr is not None:
                drawn.set_data(([lr, lr], [0, 1]) if axis == "x" else ([0, 1], [lr, lr]))
        for rank, ring in self.dots.items():
            loss = losses.get(rank, {}).get(lr)
            ring.set_data(*(([lr], [min(loss, TOP)]) if loss is not None else ([], [])))


@styled
def draw(ranks: Sequence[int], lrs: Sequence[float], guess=None, low: float = LOW, about: str = "") -> Valleys:
    """Two empty panels: the valleys, and where their bottoms lie by rank; `Valleys.update` fills them.

    Args:
        ranks: One valley each.
        lrs: The learning rates, rising.
        guess: The learning rate at which the learner expects the bottom for the last rank; None draws nothing.
        low: Where the loss axis begins, in nats.
        about: What else the guess is about, for its label.
    """
    made = figure(10.4, 4.0)
    left, right = panels(made, columns=2, width_ratios=[1.75, 1])
    panel = Panel(left, ranks, lrs, low)
    title = left.set_title("α/√r, α = 8: loss after each run")
    joined, bottoms = _bottoms_panel(right, ranks, lrs, guess, about)
    ink = {"color": COLOURS["ink"], "linewidth": 1}
    (upright,) = left.plot([], [], transform=left.get_xaxis_transform(), **ink)
    (level,) = right.plot([], [], transform=right.get_yaxis_transform(), **ink)
    ring = {"markersize": 13, "markerfacecolor": "none", "color": COLOURS["ink"]}
    dots = {rank: left.plot([], [], "o", **ring)[0] for rank in ranks}
    legend(left, loc="upper center", ncols=2, bbox_to_anchor=(0.5, 0.88))
    moving = [panel.moving(), title, upright, level, dots, joined, bottoms]
    return Valleys(Picture(made, moving), panel, title, (upright, level), dots, joined, bottoms)


@styled
def draw_rules(rules: Mapping, ranks: Sequence[int], lrs: Sequence[float], guess=None, low: float = LOW):
    """The lesson without a slider: each rule's valleys side by side, then the bottoms of all; returns the figure.

    Args:
        rules: ``{title: (losses, bottoms)}``, each as `Panel.update` takes them.
        ranks: One valley each.
        lrs: The learning rates, rising.
        guess: As in `draw`, about the last of the rules.
        low: Where the loss axis begins, in nats.
    """
    made = figure(12, 3.9)
    *lefts, right = panels(made, columns=1 + len(rules), width_ratios=[1.3] * len(rules) + [1])
    _bottoms_panel(right, ranks, lrs, guess, list(rules)[-1])
    looks = cycle((("-", "full"), ("--", "none"), (":", "full")))  # line, and whether its marks are filled
    for axes, (title, (losses, bottoms)), (style, fill) in zip(lefts, rules.items(), looks, strict=False):
        panel = Panel(axes, ranks, lrs, low)
        panel.update(losses, bottoms)
        axes.set_title(title)
        if axes is not lefts[0]:
            axes.set_ylabel("")
        right.plot(list(bottoms), list(bottoms.values()), color=COLOURS["ink"], linestyle=style, label=title)
        for rank, lr in bottoms.items():
            role = roles(ranks)[rank]
            right.plot(rank, lr, MARKERS[role], color=COLOURS[role], fillstyle=fill, markersize=9, markeredgewidth=1.6)
    legend(lefts[0], loc="lower left")
    legend(right, loc="lower left")
    return made


def depth(losses: Mapping) -> float:
    """Where a loss axis begins on which all these ``{rank: {lr: loss}}`` lie: `LOW`, or lower."""
    finite = [loss for line in losses.values() for loss in line.values() if loss < inf]
    return min([LOW, *(0.7 * loss for loss in finite)])


def _bottoms_panel(axes, ranks, lrs, guess, about=""):
    """Where the bottoms lie, by rank: a line that joins them, and a mark for each."""
    (joined,) = axes.plot([], [], color=COLOURS["ink"], linewidth=1.2)
    marks = {
        rank: axes.plot([], [], **line(role, linestyle="", markersize=9))[0] for rank, role in roles(ranks).items()
    }
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(rank) for rank in ranks])
    axes.set_yscale("log")
    _lr_axis(axes.yaxis, axes.set_ylim, lrs)
    axes.set(
        xlabel="rank r", ylabel="learning rate", title="Where the bottom lies", xlim=(ranks[0] / 1.5, ranks[-1] * 1.5)
    )
    diamond(axes, ranks[-1], guess, f"your guess for rank {ranks[-1]}" + (f",\n{about}" if about else ""))
    if guess is not None:
        legend(axes, loc="lower left")
    return joined, marks


def _lr_axis(axis, limits, lrs) -> None:
    limits(lrs[0] / 1.2, lrs[-1] * 1.2)
    _ticks(axis, lrs[0] / 1.2, lrs[-1] * 1.2)


def _ticks(axis, low: float, high: float) -> None:
    """Ticks at 1 and 3 of each power of ten, as plain numbers."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.log10(high) + 1)
    ticks = [tick for power in powers for tick in (power, 3 * power) if low <= tick <= high]
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)
