"""Spectra of finished updates: how large each direction is, and how much of the update the leading ones hold.

What is drawn lies in ``data/learned.json``; `lora_teach.measure.learned` says what a spectrum is.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, MARKERS, diamond, figure, legend, line, panels, styled

ROLES = ("other", "third", "lora", "best", "full")  # LoRA's ranks from low to high, then full fine-tuning
SHARE = 0.9
TICKS = (1, 2, 4, 8, 16, 32, 64, 96)


@dataclass
class Spectra:
    """The picture and what moves in it."""

    picture: Picture
    here: list  # Line2D in both panels: where the slider stands
    lines: dict  # contender -> (Line2D of σ, Line2D of the share held)
    dots: dict  # contender -> (Line2D, Line2D): where the slider meets them

    def show(self, values: Mapping, held: Mapping, count: int) -> None:
        """Stand at ``count`` directions, with ``{contender: (σ, …)}`` and ``{contender: (share at 1, 2, …)}``."""
        for here in self.here:
            here.set_xdata([count, count])
        for name, sigma in values.items():
            at = np.arange(1, len(sigma) + 1)
            for drawn, dot, heights in zip(self.lines[name], self.dots[name], (sigma, held[name]), strict=True):
                drawn.set_data(at, heights)
                dot.set_data(at[count - 1 : count], heights[count - 1 : count])


@styled
def draw(contenders, largest: float, guess: float | None = None) -> Spectra:
    """Make the picture, its lines still empty.

    Args:
        contenders: Their names, as many as ROLES.
        largest: The largest singular value that will be drawn.
        guess: The learner's number of directions that hold 90 % of full fine-tuning's update.
    """
    fig = figure(9.4, 3.9)
    left, right = panels(fig, columns=2)
    lines, dots = {}, {}
    for role, name in zip(ROLES, contenders, strict=True):
        look = line(role, markersize=4, markevery=[0, -1])
        big = {"linestyle": "", "marker": MARKERS[role] or "s", "color": COLOURS[role], "markersize": 8}
        lines[name] = left.plot([], [], **look)[0], right.plot([], [], **look, label=name)[0]
        dots[name] = left.plot([], [], **big)[0], right.plot([], [], **big)[0]
    right.axhline(SHARE, color=COLOURS["ghost"], linewidth=1.2, zorder=0)
    right.annotate("90 %", (1, SHARE), (2, 3), textcoords="offset points", size=9, color=COLOURS["base"])
    diamond(right, guess, SHARE if guess else None)
    left.set(ylabel="singular value σ of ΔW", title="How large each direction is", yscale="log")
    left.set_ylim(largest / 300, largest * 1.4)
    right.set(ylabel="share of the squares of ΔW", title="How much the leading ones hold", ylim=(0, 1.04))
    here = []
    for axes, label in ((left, "direction, the largest first"), (right, "number of leading directions")):
        axes.set_xscale("log", base=2)
        axes.set_xticks(TICKS, [str(tick) for tick in TICKS])
        axes.set(xlabel=label, xlim=(0.9, 107))
        here += axes.plot([1, 1], [0, 1], color=COLOURS["ink"], linewidth=1, transform=axes.get_xaxis_transform())
    legend(right, loc="lower right")
    return Spectra(Picture(fig, [here, *lines.values(), *dots.values()]), here, lines, dots)


@styled
def multiples(by_kind: Mapping, counts: Mapping):
    """Small multiples for a saved notebook: the share held, one panel for each kind of layer; return the Figure.

    Args:
        by_kind: ``{kind of layer: {contender: (share at 1, 2, …)}}``.
        counts: ``{kind: {contender: how many directions hold 90 %}}``, marked on the lines.
    """
    fig = figure(9.4, 4.9)
    grid = panels(fig, rows=2, columns=(len(by_kind) + 1) // 2, sharex=True, sharey=True).flat
    for axes, (kind, held) in zip(grid, by_kind.items(), strict=False):
        for role, (name, shares) in zip(ROLES, held.items(), strict=True):
            at = np.arange(1, len(shares) + 1)
            axes.plot(at, shares, **line(role, marker="", linewidth=1.4, label=name))
            count = counts[kind][name]
            axes.plot([count], [shares[count - 1]], MARKERS[role] or "s", color=COLOURS[role], markersize=6)
        axes.axhline(SHARE, color=COLOURS["ghost"], linewidth=1.2, zorder=0)
        axes.set_xscale("log", base=2)
        axes.set_xticks(TICKS[::2], [str(tick) for tick in TICKS[::2]])
        full = list(counts[kind].values())[-1]
        axes.set(title=f"{kind}: full needs {full}", ylim=(0, 1.04), xlim=(0.9, 107))
        axes.title.set_fontsize(10)
    fig.supxlabel("number of leading directions", size=10)
    fig.supylabel("share of the squares of ΔW", size=10)
    legend(grid[0], loc="lower right", fontsize=8)
    return fig
