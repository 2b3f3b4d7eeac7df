"""Memory: what a training step holds, as stacked bars; and what LoRA's share of it is, by the tokens in a batch."""

from dataclasses import dataclass

from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, panels, styled

import numpy as np

PARTS = {  # the four parts of a bar, from below, and how each is told without its colour
    "weights": {"facecolor": "#E3E3E3", "hatch": ""},
    "gradients": {"facecolor": COLOURS["other"], "hatch": "///"},
    "optimiser": {"facecolor": COLOURS["third"], "hatch": ".."},
    "activations": {"facecolor": COLOURS["fourth"], "hatch": "xx"},
}
EDGE = {"edgecolor": COLOURS["ink"], "linewidth": 0.6}
ROLES = ("full", "lora", "other")  # of full fine-tuning, LoRA, LoRA with checkpointing
STEPS = (1, 1.5, 2, 3, 5, 7, 10)  # the axis ends at one of these, times a power of ten


@dataclass
class Bars:
    """The picture, and the artists that `update` moves."""

    picture: Picture
    axes: tuple  # of the bars and of the shares
    bars: list  # for each part the Rectangles of all bars
    words: list  # Texts over the bars
    measured: object  # Line2D: dots beside the bars
    lines: list  # Line2Ds: shares by tokens, of LoRA with and without checkpointing
    dots: list  # Line2Ds: where this batch is on them
    title: object  # Text over the bars

    def update(self, title, held, measured, tokens, shares, here):
        """Show one batch.

        Args:
            title: What stands over the bars.
            held: For each bar its four parts in bytes, as in `PARTS`.
            measured: For each bar the measured total in bytes; None where nothing was measured.
            tokens: The x of the lines.
            shares: For each line its share of full fine-tuning at each x.
            here: Tokens in this batch; the shares of its bars are where the dots are.
        """
        held = np.asarray(held, float) / 1e9  # (bars, parts)
        totals = held.sum(1)
        bottoms = held.cumsum(1) - held
        for part, rectangles in enumerate(self.bars):
            for bar, rectangle in enumerate(rectangles):
                rectangle.set(y=bottoms[bar, part], height=held[bar, part])
        top = _ceiling(1.12 * totals.max())
        if top != self.axes[0].get_ylim()[1]:
            self.axes[0].set_ylim(0, top)
            self.picture.background_changed()
        for bar, (word, total) in enumerate(zip(self.words, totals, strict=True)):
            word.set_position((bar, total + 0.012 * top))
            digits = 2 if total < 10 else 1 if total < 100 else 0
            word.set_text(f"{total:.{digits}f} GB" + ("" if bar == 0 else f"\n{total / totals[0]:.0%}"))
        found = [] if measured is None else np.asarray(measured, float) / 1e9
        self.measured.set_data(np.arange(len(found)) + 0.44, found)
        for drawn, dot, share, total in zip(self.lines, self.dots, shares, totals[1:], strict=True):
            drawn.set_data(tokens, share)
            dot.set_data([here], [total / totals[0]])
        self.title.set_text(title)


@styled
def draw(names, few, many, guess=None):
    """Two panels: a bar for each way of training, and the share that LoRA needs by the tokens in a batch.

    Args:
        names: Of the three bars: full fine-tuning, LoRA, LoRA with checkpointing.
        few: The fewest tokens in a batch.
        many: The most.
        guess: The learner's ``(tokens, share)`` for LoRA; None draws nothing.
    """
    made = figure(11, 4.5)
    left, right = panels(made, columns=2, width_ratios=[1.25, 1])
    places = np.arange(len(names))
    bars = [
        list(left.bar(places, np.ones(len(names)), 0.7, label=_said(part), **look, **EDGE))
        for part, look in PARTS.items()
    ]
    words = [left.text(place, 0, "", ha="center", va="bottom", fontsize=10) for place in places]
    (measured,) = left.plot(
        [], [], "o", markersize=7, color=COLOURS["ink"], markerfacecolor="white", markeredgewidth=1.6, label="measured"
    )
    left.set_xticks(places, names, fontsize=10)
    left.set(ylabel="held in a step, GB (10⁹ bytes)", xlim=(-0.5, len(names) - 0.4), ylim=(0, 700))
    left.grid(False, axis="x")  # the limit so far leaves room for wide numbers at the ticks
    title = left.set_title(" ")
    handles, labels = left.get_legend_handles_labels()
    made.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    right.axhline(1, **line("full", marker="", label=names[0].replace("\n", " ")))
    lines, dots = [], []
    for role, name in zip(ROLES[1:], names[1:], strict=True):
        lines += right.plot([], [], **line(role, marker="", label=name.replace("\n", " ")))
        dots += right.plot([], [], **line(role, linestyle="", markersize=9))
    right.set_xscale("log", base=2)
    ticks = [tick for tick in (2**power for power in range(5, 21, 3)) if few <= tick <= many]
    right.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    right.minorticks_off()
    right.set(xlim=(few / 1.3, many * 1.3), ylim=(0, 1.08), xlabel="tokens in a batch")
    right.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    right.set_title("share of full fine-tuning's memory")
    if guess is not None:
        diamond(right, *guess)
    legend(right, loc="upper left", bbox_to_anchor=(0.0, 0.9))
    picture = Picture(made, [bars, words, measured, lines, dots, title])
    return Bars(picture, (left, right), bars, words, measured, lines, dots, title)


@styled
def draw_ranks(held):
    """Small multiples: columns by batch, rows without and with checkpointing, a bar for each rank.

    Args:
        held: ``{row: {column: {bar: its four parts in bytes}}}``; the first bar of all is 100 % of its column.

    Returns:
        A Figure.
    """
    rows, columns = list(held), list(next(iter(held.values())))
    made = figure(11, 5.2)
    grid = panels(made, rows=len(rows), columns=len(columns), sharey=True, sharex=True, squeeze=False)
    for across, column in enumerate(columns):
        whole = sum(next(iter(held[rows[0]][column].values())))
        for down, row in enumerate(rows):
            axes, bars = grid[down, across], held[row][column]
            shares = np.array(list(bars.values()), float) / whole  # (bars, parts)
            bottoms = shares.cumsum(1) - shares
            for part, look in enumerate(PARTS.items()):
                name, look = look
                axes.bar(range(len(bars)), shares[:, part], 0.74, bottoms[:, part], label=_said(name), **look, **EDGE)
            for bar, total in enumerate(shares.sum(1)):
                axes.text(bar, total + 0.015, f"{total:.0%}", ha="center", va="bottom", fontsize=9)
            axes.set_xticks(range(len(bars)), list(bars))
            axes.set_ylim(0, 1.14)
            axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
            axes.grid(False, axis="x")
            if down == 0:
                axes.set_title(f"{column} (100 % is {whole / 1e9:,.0f} GB)", fontsize=10)
            if across == 0:
                axes.set_ylabel(row)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return made


def _said(part):
    return "weights, adapters among them" if part == "weights" else part


def _ceiling(value):
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step for step in STEPS if step * power >= value * 0.999999) * power)
