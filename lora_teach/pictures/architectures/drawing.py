"""Counts in full: numbers that train against numbers in the model, from NameGPT to GPT-3, on two logarithmic axes."""

from dataclasses import dataclass

from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, panels, styled

import numpy as np

SHARES = {1: "", 0.01: "1 %", 0.0001: "0.01 %"}
BYTES = 4  # an adapter is written in float32
SIZES = {1e3: "1 kB", 1e6: "1 MB", 1e9: "1 GB", 1e12: "1 TB"}
XLIM, YLIM = (1.2e5, 6e11), (6e2, 6e11)
LABELLED = 2.5e7  # numbers in a model; between NameGPT and the next, where no dot is
TICKS = {1e3: "1,000", 1e6: "a million", 1e9: "a billion"}


@dataclass
class Architectures:
    """The picture, and the artists that `update` moves."""

    picture: Picture
    dots: object  # Line2D: one dot for each model
    words: tuple  # Texts: at the first model and the last
    title: object  # Text

    def update(self, totals, counts, title) -> None:
        """Put the dots at these counts, in the order of the models."""
        self.dots.set_data(totals, counts)
        for word, total, count in zip(self.words, (totals[0], totals[-1]), (counts[0], counts[-1]), strict=True):
            word.set_position((total, count))
            word.set_text(f"   {count:,}   ")
        self.title.set_text(title)


@styled
def draw(names, totals, guess=None) -> Architectures:
    """Make the picture, without its dots.

    Args:
        names: The models, smallest first.
        totals: Numbers in each.
        guess: The learner's count for the last of them; None draws nothing.
    """
    made = figure(11, 5.6)
    axes = panels(made)
    _axes(axes)
    axes.plot(totals, totals, **line("full", linestyle="", markersize=5, label="full fine-tuning: all of it"))
    _names(axes, names, totals)
    (dots,) = axes.plot([], [], **line("lora", linestyle="", markersize=8, label="LoRA"))
    words = tuple(
        axes.text(totals[at], YLIM[0], "", ha=side, va="center", fontsize=10, color=COLOURS["ink"])
        for at, side in ((0, "left"), (-1, "right"))
    )
    right = axes.secondary_yaxis("right", functions=(lambda y: BYTES * y, lambda size: size / BYTES))
    right.set_yticks(list(SIZES), list(SIZES.values()))
    right.minorticks_off()
    right.set_ylabel("its file, at 4 bytes a number")
    right.tick_params(labelsize=9, color=COLOURS["base"], labelcolor=COLOURS["base"], length=3)
    opaque = {"facecolor": "white", "edgecolor": "none"}  # a model's line runs behind
    title = axes.text(0.015, 0.97, "", transform=axes.transAxes, ha="left", va="top", fontsize=12, bbox=opaque)
    diamond(axes, totals[-1] if guess else None, guess)
    legend(axes, loc="upper left", bbox_to_anchor=(0.0, 0.93), frameon=True, framealpha=1, **opaque)
    picture = Picture(made, [dots, words, title])
    return Architectures(picture, dots, words, title)


def _axes(axes):
    axes.set(xscale="log", yscale="log", xlim=XLIM, ylim=YLIM)
    ends = np.array(XLIM)
    for share, words in SHARES.items():
        look = line("full", marker="", linewidth=1.6) if share == 1 else line("ghost", marker="", linewidth=1)
        axes.plot(ends, share * ends, **look)
        if words:
            axes.annotate(
                words, (LABELLED, share * LABELLED), (-3, 3), textcoords="offset points", ha="right", va="bottom",
                fontsize=9, color=COLOURS["base"],
            )  # fmt: skip
    axes.set_xticks(list(TICKS)[1:], list(TICKS.values())[1:])
    axes.set_yticks(list(TICKS), list(TICKS.values()))
    axes.minorticks_off()
    axes.set(xlabel="numbers in the model", ylabel="numbers that train")


def _names(axes, names, totals):
    """The models' names over the top, apart from one another, each led down to its place."""
    low, high = np.log10(XLIM)
    places = (np.log10(totals) - low) / (high - low)  # 0 to 1 along the axis
    spread = places.copy()
    for _ in range(200):  # push neighbours apart until nobody stands on another's toes
        for left in range(len(spread) - 1):
            lack = 0.026 - (spread[left + 1] - spread[left])
            if lack > 1e-4:
                spread[left] -= lack / 2
                spread[left + 1] += lack / 2
    for name, place, shown in zip(names, places, spread, strict=True):
        over = axes.get_xaxis_transform()
        x, top = 10 ** (low + place * (high - low)), 10 ** (low + shown * (high - low))
        axes.plot([x, x, top], [0, 1, 1.03], transform=over, color=COLOURS["ghost"], linewidth=0.7, clip_on=False)
        axes.text(
            top, 1.035, name, transform=over, rotation=55, ha="left", va="bottom", rotation_mode="anchor", fontsize=9
        )


@styled
def draw_kinds(totals, counts, ranks):
    """Small multiples, one for each choice of layers: the counts at several ranks.

    Args:
        totals: Numbers in each model, smallest first.
        counts: ``{choice of layers: {rank: counts, one for each model}}``.
        ranks: The ranks, at most three.

    Returns:
        A Figure.
    """
    made = figure(12, 4.2)
    for place, (axes, (which, by_rank)) in enumerate(
        zip(panels(made, columns=len(counts), sharey=True), counts.items(), strict=True)
    ):
        _axes(axes)
        axes.plot(totals, totals, **line("full", linestyle="", markersize=4, label="full fine-tuning: all of it"))
        for role, rank in zip(("fourth", "lora", "other"), ranks, strict=False):
            axes.plot(totals, by_rank[rank], **line(role, linestyle="", markersize=6, label=f"LoRA, r = {rank}"))
        axes.set_title(which)
        if place:
            axes.set_ylabel("")
        if place == len(counts) - 1:
            legend(axes, loc="upper left")
    return made
