"""Valleys: the loss after a short run by learning rate, one valley for each rank, under one rule of scaling.

Whether the bottom of the valley stays where it is when the rank changes is what the rule of scaling decides: α/r "helps
to reduce the need to retune hyperparameters when we vary r" (Hu et al. 2021, section 4.1). A learning rate that was
found at rank 4 then serves rank 64 too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf, log
from typing import NamedTuple

from lora_teach.bases import load_digit_net
from lora_teach.datasets import digits
from lora_teach.measure.retraining import STEPS, retrain

RANKS = (1, 4, 16, 64)
LEARNING_RATES = (0.001, 0.0018, 0.0032, 0.0056, 0.01, 0.018, 0.032, 0.056, 0.1)  # four to a power of ten
NEAR = 2  # learning rates as near as this speak for each other
RULES = {"alpha/r": "α/r, α = {:g}", "alpha/sqrt(r)": "α/√r, α = {:g}", "alpha": "constant {:g}"}


class Run(NamedTuple):
    """One finished run: ``loss`` is the mean of its last 20 steps in nats a digit, inf if it blew up."""

    rank: int
    lr: float
    loss: float


@dataclass
class Sweep:
    """The runs of one rule that have ended: ``loss`` is ``{rank: {lr: loss}}``, inf for one that blew up.

    ``ranks`` and ``lrs``, rising, are those planned; ``stopped`` says why there are fewer runs, or is None.
    """

    scaling: str = "alpha/r"
    alpha: float = 8
    ranks: Sequence[int] = RANKS
    lrs: Sequence[float] = LEARNING_RATES
    loss: dict = field(default_factory=dict)
    stopped: str | None = None

    def __post_init__(self):
        self.ranks, self.lrs = tuple(self.ranks), tuple(sorted(self.lrs))

    def add(self, run):
        """Take one more run."""
        self.loss.setdefault(run.rank, {})[run.lr] = run.loss

    def __len__(self):
        return sum(map(len, self.loss.values()))

    @property
    def planned(self):
        """How many runs it has when it is complete."""
        return len(self.ranks) * len(self.lrs)

    @property
    def rule(self):
        """The rule and its number, such as ``α/r, α = 8``."""
        return RULES[self.scaling].format(self.alpha)

    def line(self, rank):
        """One valley as far as it is known: ``[(lr, loss), …]``, learning rates rising."""
        return sorted(self.loss.get(rank, {}).items())

    def bottom(self, rank):
        """The learning rate at which this rank's valley is deepest; None before all its runs have ended.

        A single run is noisy, and the floor of a valley is flat. What counts at a learning rate is therefore the
        geometric mean of its loss, taken twice, and those at the learning rates within a factor of `NEAR` of it.
        """
        line = [(log(lr), log(loss) if loss < inf else inf) for lr, loss in self.line(rank)]
        if len(line) < len(self.lrs):
            return None
        near = [[own, *(loss for there, loss in line if abs(there - here) < log(NEAR))] for here, own in line]
        means = [sum(some) / len(some) for some in near]
        return None if min(means) == inf else self.lrs[means.index(min(means))]

    def above_lowest(self, rank, lr):
        """How many times the lowest loss of this rank its loss at this learning rate is."""
        return self.loss[rank][lr] / min(self.loss[rank].values())

    def bottoms(self):
        """``{rank: lr}`` for every rank whose bottom is known."""
        found = {rank: self.bottom(rank) for rank in self.ranks}
        return {rank: lr for rank, lr in found.items() if lr is not None}

    def spread(self):
        """The factor between the lowest and the highest of the bottoms; None before two are known."""
        bottoms = self.bottoms().values()
        return max(bottoms) / min(bottoms) if len(bottoms) > 1 else None


@lru_cache(maxsize=1)
def turned_digits():
    """Return the digits that the valleys are grown on unless others are given: turned by 30 degrees."""
    return digits.rotated(30)


def coarse_to_fine(values):
    """Return the values in an order that shows the shape early: middle and ends first, then what lies between.

    Example:
        >>> coarse_to_fine([1, 2, 3, 4, 5, 6, 7, 8, 9])
        [5, 1, 9, 3, 7, 2, 4, 6, 8]
    """
    last = len(values) - 1
    order, step = [(last + 1) // 2, 0, last], last // 2
    while step > 0:
        order += range(0, last, step)
        step //= 2
    order += range(last + 1)
    return [values[place] for place in dict.fromkeys(order)]


def valley_runs(scaling="alpha/r", *, alpha=8, digits=None, ranks=RANKS, lrs=LEARNING_RATES, seed=0, steps=STEPS):
    """Train one adapter for each learning rate and rank, and yield each run as it ends.

    All ranks take turns, and the learning rates come `coarse_to_fine`: whoever stops early has whole valleys. ``seed``
    decides each adapter's start and the batches, the same for all; digits None takes those turned by 30 degrees.
    """
    split, base = digits or turned_digits(), load_digit_net()
    for lr in coarse_to_fine(sorted(lrs)):
        for rank in ranks:
            run = retrain(split, rank, lr=lr, steps=steps, seed=seed, base=base, scaling=scaling, alpha=alpha)
            yield Run(rank, lr, run.final_loss)


def measure_valleys(scaling="alpha/r", *, alpha=8, ranks=RANKS, lrs=LEARNING_RATES, **options):
    """Do all of `valley_runs` and return the Sweep; takes what that takes."""
    sweep = Sweep(scaling, alpha, ranks, lrs)
    for run in valley_runs(scaling, alpha=alpha, ranks=ranks, lrs=lrs, **options):
        sweep.add(run)
    return sweep


def spoken(number):
    """A factor or a learning rate as it is read: at most two digits, without powers of ten."""
    if number >= 10:
        return f"{number:.0f}"
    return f"{float(f'{number:.2g}'):.10f}".rstrip("0").rstrip(".") if number > 0 else "0"
