"""What a LoRA step costs, as a share of full fine-tuning's: its FLOPs by rank, and its time beside them."""

from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, log2_axis, panels, styled
from lora_teach.utils.validation import check_guess

import numpy as np

ROLES = ("lora", "best", "third", "base")
MARKERS = {"best": "d"}  # in the style it has none
TWO_THIRDS = 2 / 3
WAYS = {"all linear": "other", "q v": "third"}  # which layers are adapted, and the role in which they are drawn


@styled
def draw_step_cost(shares, times, guess=None):
    """Two panels: predicted FLOPs by rank, and for each step that was timed its time beside its FLOPs.

    Args:
        shares: ``{model: {rank: LoRA's FLOPs / full fine-tuning's}}``, at most four models.
        times: ``(label, predicted share of FLOPs, {way: (low, median, high) share of time})`` of each step that was
            timed; a way is one of `WAYS`.
        guess: The learner's share of time for the first of them; None draws nothing.
    """
    guess = check_guess(guess, 0, 100, "a share")
    made = figure(12, max(4.4, 1.8 + 0.34 * len(times)))
    left, right = panels(made, columns=2, width_ratios=[1, 1.1])
    left.axhline(1, **line("full", marker="", label="full fine-tuning"))
    left.axhline(TWO_THIRDS, color=COLOURS["ghost"], linewidth=1.2)
    left.annotate("2/3", (1, TWO_THIRDS), (-6, -4), textcoords="offset points", ha="right", va="top", fontsize=10)
    for role, (model, by_rank) in zip(ROLES, shares.items(), strict=False):
        look = line(role, label=model)
        look["marker"] = MARKERS.get(role, look["marker"])
        left.plot(list(by_rank), list(by_rank.values()), **look)
    every = sorted({rank for by_rank in shares.values() for rank in by_rank})
    log2_axis(left, every)
    left.set(xlim=(0.6, every[-1] * 1.3), ylim=(0, 1.08 * max(max(by.values()) for by in shares.values())))
    left.set(xlabel="rank r, on every linear layer", ylabel="LoRA's step / full's")
    left.set_title("FLOPs, predicted")
    legend(left, loc="lower right")

    places = range(len(times))
    right.axvline(1, **line("full", marker=""))
    right.axvline(TWO_THIRDS, color=COLOURS["ghost"], linewidth=1.2)
    right.plot([flops for _, flops, _ in times], places, **line("lora", linestyle="", label="FLOPs, predicted"))
    for (way, role), shift in zip(WAYS.items(), (0.0, 0.22), strict=True):
        found = [(place + shift, taken[way]) for place, (*_, taken) in zip(places, times, strict=True) if way in taken]
        if found:
            heights, spread = [place for place, _ in found], np.array([time for _, time in found]).T  # (3, times)
            look = line(role, linestyle="", markersize=8, label=f"time, {way}")
            right.errorbar(spread[1], heights, xerr=np.abs(np.diff(spread, axis=0)), **look, capsize=3)
    right.set_yticks(list(places), [label for label, *_ in times])
    right.set(ylim=(len(times) - 0.4, -0.6), xlabel="LoRA's step / full's")
    highest = [time[-1] for *_, taken in times for time in taken.values()]
    right.set_xlim(0, 1.1 * max([1.2, *highest, *([guess] if guess else [])]))
    right.set_title("FLOPs and time at r = 8")
    diamond(right, guess, 0)
    legend(right, loc="upper left", bbox_to_anchor=(0.0, -0.12), ncols=3)
    return made
