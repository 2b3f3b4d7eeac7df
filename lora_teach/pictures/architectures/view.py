"""Counts in full: what a rank costs in real architectures, from NameGPT to GPT-3, on two logarithmic axes."""

from lora_teach.live.explore import View
from lora_teach.measure.architectures import ARCHITECTURES, total_parameters, trainable_per_rank
from lora_teach.measure.predicted_memory import readable
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, panels, styled
from lora_teach.utils.validation import check_guess

import numpy as np

CHOICES = ["q v", "attention", "all linear"]
SHOWN = {1: "fourth", 8: "lora", 64: "other"}  # ranks of the small multiples, and the role in which each is drawn
SHARES = {1: "", 0.01: "1 %", 0.0001: "0.01 %"}
BYTES = 4  # an adapter is written in float32
SIZES = {1e3: "1 kB", 1e6: "1 MB", 1e9: "1 GB", 1e12: "1 TB"}
XLIM, YLIM = (1.2e5, 6e11), (6e2, 6e11)
LABELLED = 2.5e7  # numbers in a model; between NameGPT and the next, where no dot is
TICKS = {1e3: "1,000", 1e6: "a million", 1e9: "a billion"}


class CountsInFull(View):
    """The numbers that LoRA trains beside those that the model has.

    Args:
        guess: How many numbers the learner thinks train in GPT-3 at rank 8, on q and v.
        totals: ``{model: its numbers}``, smallest first; None takes `ARCHITECTURES`.

    Raises:
        TypeError, ValueError: A guess that is no number, or lies outside 600 to 6e11.
    """

    sliders = {"rank": (1, 64, 8), "layers": CHOICES}

    def __init__(self, guess=None, totals=None):
        guess = check_guess(guess, *YLIM, "a count")
        totals = {name: total_parameters(name) for name in ARCHITECTURES} if totals is None else totals
        self.names, self.totals = list(totals), list(totals.values())
        self._draw(guess)

    def counts(self, rank, which):
        """Numbers that train in each model."""
        return [rank * trainable_per_rank(name, which) for name in self.names]

    @styled
    def _draw(self, guess):
        """The picture, without its dots."""
        made = figure(11, 5.6)
        axes = panels(made)
        _axes(axes)
        axes.plot(
            self.totals, self.totals, **line("full", linestyle="", markersize=5, label="full fine-tuning: all of it")
        )
        _names(axes, self.names, self.totals)
        (self.dots,) = axes.plot([], [], **line("lora", linestyle="", markersize=8, label="LoRA"))
        self.words = [  # at the first model and the last
            axes.text(self.totals[at], YLIM[0], "", ha=side, va="center", fontsize=10, color=COLOURS["ink"])
            for at, side in ((0, "left"), (-1, "right"))
        ]
        right = axes.secondary_yaxis("right", functions=(lambda y: BYTES * y, lambda size: size / BYTES))
        right.set_yticks(list(SIZES), list(SIZES.values()))
        right.minorticks_off()
        right.set_ylabel("its file, at 4 bytes a number")
        right.tick_params(labelsize=9, color=COLOURS["base"], labelcolor=COLOURS["base"], length=3)
        opaque = {"facecolor": "white", "edgecolor": "none"}  # a model's line runs behind
        self.title = axes.text(0.015, 0.97, "", transform=axes.transAxes, ha="left", va="top", fontsize=12, bbox=opaque)
        diamond(axes, self.totals[-1], guess)
        legend(axes, loc="upper left", bbox_to_anchor=(0.0, 0.93), frameon=True, framealpha=1, **opaque)
        self.picture = Picture(made, [self.dots, self.words, self.title])

    def move(self, rank, layers):
        """Show one rank on one choice of layers."""
        counts = self.counts(rank, layers)
        self.dots.set_data(self.totals, counts)
        for word, at in zip(self.words, (0, -1), strict=True):
            word.set(position=(self.totals[at], counts[at]), text=f"   {counts[at]:,}   ")
        self.title.set_text(f"r = {rank} on {layers}")
        smaller, larger = counts[-1] / counts[0], self.totals[-1] / self.totals[0]
        return (
            f"Rank {rank}, {layers}: {_share(counts[0], self.totals[0])} of {self.names[0]}'s numbers train, and "
            f"{_share(counts[-1], self.totals[-1])} of {self.names[-1]}'s. The model is {larger:,.0f} times as large, "
            f"the adapter {smaller:,.0f} times: {readable(BYTES * counts[-1])} on disk."
        )

    def static_figure(self):
        """Return three choices of layers at three ranks."""
        small, large = (_share(self.counts(8, "q v")[at], self.totals[at]) for at in (0, -1))
        return show(
            self._draw_choices(),
            f"{len(self.names)} models, {self.names[0]} at the left, {self.names[-1]} at the right. At r = 8 on q and "
            f"v an adapter is {small} of the smallest and {large} of the largest: a model grows with the square of its "
            "width, an adapter with the width.",
        )

    @styled
    def _draw_choices(self):
        """Small multiples, one for each choice of layers: the counts at several ranks."""
        made = figure(12, 4.2)
        grid = panels(made, columns=len(CHOICES), sharey=True)
        for axes, which in zip(grid, CHOICES, strict=True):
            _axes(axes)
            whole = line("full", linestyle="", markersize=4, label="full fine-tuning: all of it")
            axes.plot(self.totals, self.totals, **whole)
            for rank, role in SHOWN.items():
                look = line(role, linestyle="", markersize=6, label=f"LoRA, r = {rank}")
                axes.plot(self.totals, self.counts(rank, which), **look)
            axes.set_title(which)
        for axes in grid[1:]:
            axes.set_ylabel("")
        legend(grid[-1], loc="upper left")
        return made


def _axes(axes):
    """Two logarithmic axes, and a line for each of `SHARES`."""
    axes.set(xscale="log", yscale="log", xlim=XLIM, ylim=YLIM)
    ends = np.array(XLIM)
    for share, words in SHARES.items():
        look = line("full", marker="", linewidth=1.6) if share == 1 else line("ghost", marker="", linewidth=1)
        axes.plot(ends, share * ends, **look)
        place = {"textcoords": "offset points", "ha": "right", "va": "bottom"}
        axes.annotate(words, (LABELLED, share * LABELLED), (-3, 3), **place, fontsize=9, color=COLOURS["base"])
    axes.set_xticks(list(TICKS)[1:], list(TICKS.values())[1:])
    axes.set_yticks(list(TICKS), list(TICKS.values()))
    axes.minorticks_off()
    axes.set(xlabel="numbers in the model", ylabel="numbers that train")


def _names(axes, names, totals):
    """The models' names over the top, apart from one another, each led down to its place."""
    low, high = np.log10(XLIM)
    places = (np.log10(totals) - low) / (high - low)  # 0 to 1 along the axis
    spread = places.copy()
    for _ in range(200):  # push neighbours apart until no two names overlap
        for left in range(len(spread) - 1):
            lack = 0.026 - (spread[left + 1] - spread[left])
            if lack > 1e-4:
                spread[left] -= lack / 2
                spread[left + 1] += lack / 2
    over = axes.get_xaxis_transform()
    for name, x, top in zip(names, totals, 10 ** (low + spread * (high - low)), strict=True):
        axes.plot([x, x, top], [0, 1, 1.03], transform=over, color=COLOURS["ghost"], linewidth=0.7, clip_on=False)
        look = {"ha": "left", "va": "bottom", "rotation_mode": "anchor", "fontsize": 9}
        axes.text(top, 1.035, name, transform=over, rotation=55, **look)


def _share(count, total):
    """A share in percent with two digits."""
    percent = 100 * count / total
    return f"{percent:.2g} %" if percent < 10 else f"{percent:.0f} %"
