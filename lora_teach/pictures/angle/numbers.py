"""Digits that were turned or inverted, and what ranks and full fine-tuning come to on them: the numbers behind Angle.

A slider of Angle trains for real at every move. What its picture shows before anybody moves, three tasks side by side,
was trained by ``data/make_angle.py`` and lies in ``data/angle.json``.
"""

from lora_teach.datasets import digits
from lora_teach.datasets.digits import Digits
from lora_teach.measure.retraining import LR, retrain
from lora_teach.measure.tuning import FULL

ALPHA = 8.0
FULL_LR = 0.005  # full fine-tuning's own: in the flat bottom of its valley on turned digits and on black paper


def changed(angle, paper="white"):
    """Return the digits turned by ``angle`` degrees, as ink on white paper or inverted, on black paper."""
    if paper not in ("white", "black"):
        raise ValueError(f"paper={paper!r} is not among white and black.")
    split = digits.rotated(angle)
    return split if paper == "white" else Digits(*((1 - x, y) for x, y in split))


def retrain_at(split, rank, alpha=ALPHA, **options):
    """Retrain with LoRA at its learning rate, or with full fine-tuning (rank None) at its own; options as `retrain`."""
    how = {"lr": FULL_LR} if rank is FULL else {"lr": LR, "alpha": alpha}
    return retrain(split, rank, **how, **options)
