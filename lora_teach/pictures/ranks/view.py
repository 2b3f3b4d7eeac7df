"""What rank buys: for several tasks, how much of full fine-tuning's gain each rank has.

What is drawn comes from ``data/ranks.json`` and ``data/cut_or_train.json``; ``numbers.py`` says what a
share is.
"""

from lora_teach.plots.style import COLOURS, figure, legend, line, log2_axis, panels, styled

import numpy as np

ROLES = ("best", "lora", "other", "third", "fourth")
MARKERS = {"best": "d"}  # in the style it has none


@styled
def draw_ranks(lines, advised=(4, 8)):
    """Make the picture.

    Args:
        lines: ``{task: {rank: [share, one a seed]}}``, at most five tasks.
        advised: The ranks that a rule of thumb names; the band between them is shaded.
    """
    fig = figure(9.6, 4.0)
    axes = panels(fig)
    axes.axvspan(*advised, color=COLOURS["ghost"], alpha=0.35, lw=0, zorder=0)
    axes.annotate(
        f"“start with {advised[0]} or {advised[1]}”", (np.prod(advised) ** 0.5, 0), (0, 6), ha="center", size=9,
        xycoords=("data", "axes fraction"), textcoords="offset points", color=COLOURS["base"],
    )  # fmt: skip
    axes.axhline(1, color=COLOURS["full"], linestyle="--", linewidth=1.6, label="full fine-tuning")
    for role, (task, by_rank) in zip(ROLES, lines.items(), strict=False):
        ranks, seeds = list(by_rank), np.array(list(by_rank.values()))  # (ranks, seeds)
        look = line(role, label=task)
        look["marker"] = look["marker"] or MARKERS[role]
        axes.plot(ranks, seeds, **look | {"linestyle": "", "markersize": 3, "alpha": 0.5, "label": "_"})
        axes.plot(ranks, seeds.mean(1), **look | {"markersize": 8})
    every = sorted({rank for by_rank in lines.values() for rank in by_rank})
    shown = [rank for rank in every if np.log2(rank) % 1 == 0]
    log2_axis(axes, shown)
    axes.set(xlabel="rank r", ylabel="share of full fine-tuning's gain", ylim=(min(0, axes.get_ylim()[0]), 1.08))
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    legend(axes, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig
