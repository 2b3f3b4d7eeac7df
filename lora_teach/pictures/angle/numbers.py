"""Digits that were turned or inverted, and what ranks and full fine-tuning come to on them: the numbers behind Angle.

A slider of Angle trains for real at every move. What its picture shows before anybody moves, three tasks side by side,
was trained by ``data/make_angle.py`` and lies in ``data/angle.json``.
"""

from collections.abc import Sequence
from statistics import mean

from lora_teach.bases import accuracy, load_digit_net
from lora_teach.datasets import digits
from lora_teach.datasets.digits import Digits
from lora_teach.measure.race import FULL
from lora_teach.measure.retraining import LR, STEPS, Retrained, retrain

ALPHA = 8.0
FULL_LR = 0.005  # full fine-tuning's own: in the flat bottom of its valley on turned digits and on black paper
RANKS = (1, 4, 16)  # of the tasks side by side
BLOCK = 10  # steps whose mean loss is kept
TASKS = {  # angle, paper, and lengths of the runs
    "Turned by 30°": (30, "white", (STEPS,)),
    "Turned by 90°": (90, "white", (STEPS,)),
    "On black paper": (0, "black", (STEPS, 5 * STEPS)),
}


def changed(angle, paper="white") -> Digits:
    """Return the digits turned by ``angle`` degrees, as ink on white paper or inverted, on black paper."""
    if paper not in ("white", "black"):
        raise ValueError(f"paper={paper!r} is not among white and black.")
    split = digits.rotated(angle)
    return split if paper == "white" else Digits(*((1 - x, y) for x, y in split))


def retrain_at(split, rank, alpha=ALPHA, **options) -> Retrained:
    """Retrain with LoRA at its learning rate, or with full fine-tuning (rank None) at its own; options as `retrain`."""
    how = {"lr": FULL_LR} if rank is FULL else {"lr": LR, "alpha": alpha}
    return retrain(split, rank, **how, **options)


def task_results(angle, paper, lengths: Sequence[int], seeds: Sequence[int], ranks: Sequence[int] = RANKS) -> dict:
    """Train every rank and full fine-tuning on one task and return what came out.

    Args:
        angle: Of the digits, in degrees.
        paper: "white" or "black".
        lengths: Of the runs, in steps, the longest last.
        seeds: One run each.
        ranks: LoRA's.

    Returns:
        ``base``, the share of test digits that the base reads; and by contender (a rank as text, or "full")
        ``accuracies``, by length, one a seed, and ``losses``, the mean over the seeds of the longest run's loss, over
        each BLOCK of steps, in nats a digit.
    """
    split, base = changed(angle, paper), load_digit_net()
    contenders = {}
    for rank in (*ranks, FULL):
        runs = [[retrain_at(split, rank, steps=steps, seed=seed, base=base) for seed in seeds] for steps in lengths]
        blocks = range(0, lengths[-1], BLOCK)
        contenders["full" if rank is FULL else str(rank)] = {
            "accuracies": [[run.accuracy for run in same] for same in runs],
            "losses": [mean(mean(run.loss[start : start + BLOCK]) for run in runs[-1]) for start in blocks],
        }
    return {"base": accuracy(base, *split.test), "contenders": contenders}
