"""What a LoRA step computes, as a share of full fine-tuning's step: predicted by rank, and times that were measured."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, panels, styled

ROLES = ("lora", "best", "third", "base")
MARKERS = {"best": "d"}  # in the style it has none
TWO_THIRDS = 2 / 3
OTHERS = "v*<>hp"  # of measured times, in turn


@styled
def draw(shares: Mapping, measured: Sequence = (), guess=None) -> Figure:
    """Make the picture.

    Args:
        shares: ``{model: {rank: LoRA's FLOPs / full fine-tuning's}}``, at most four models.
        measured: ``(label, rank, LoRA's time / full fine-tuning's)`` of steps that were timed.
        guess: The learner's ``(rank, share)``; None draws nothing.
    """
    made = figure(9.6, 4.4)
    axes = panels(made)
    axes.axhline(1, **line("full", marker="", label="full fine-tuning"))
    axes.axhline(TWO_THIRDS, color=COLOURS["ghost"], linewidth=1.2)
    axes.annotate("2/3", (1, TWO_THIRDS), (-6, -4), textcoords="offset points", ha="right", va="top", fontsize=10)
    for role, (model, by_rank) in zip(ROLES, shares.items(), strict=False):
        look = line(role, label=f"FLOPs, {model}")
        look["marker"] = MARKERS.get(role, look["marker"])
        axes.plot(list(by_rank), list(by_rank.values()), **look)
    for marker, (label, rank, share) in zip(OTHERS * len(measured), measured, strict=False):
        axes.plot(
            [rank], [share], marker, markersize=11, markerfacecolor=COLOURS["other"], markeredgecolor=COLOURS["ink"],
            linestyle="", label=f"time, {label}", zorder=4,
        )  # fmt: skip
    every = sorted({rank for by_rank in shares.values() for rank in by_rank})
    axes.set_xscale("log", base=2)
    axes.set_xticks(every, [str(rank) for rank in every])
    axes.minorticks_off()
    highest = max([1.5, *(share for _, _, share in measured), *((guess[1],) if guess else ())])
    axes.set(xlim=(0.6, every[-1] * 1.3), ylim=(0, 1.08 * highest))
    axes.set(xlabel="rank r, on every linear layer", ylabel="LoRA's step as a share of full's")
    if guess is not None:
        diamond(axes, *guess)
    legend(axes, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return made
