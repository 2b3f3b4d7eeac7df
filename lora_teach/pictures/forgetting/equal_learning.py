"""Who forgets less where all have learned equally much? Read off the runs of `lora_teach.pictures.forgetting.numbers`.

A fine-tuning that has learned more has usually forgotten more, so the finished models say little about which way of
training forgets less. Here each run is taken where it first reaches one loss on the new language: on its way through
training, or, with the finished update, turned up from nothing. That loss is what every run reaches, and MARGIN more,
since near its lowest loss a run forgets and learns nothing for it. The rule for every verdict: a band goes from the
lowest to the highest seed, and where two bands overlap it is undecided.
"""

from statistics import mean
from typing import NamedTuple

from lora_teach.pictures.forgetting.numbers import CONTENDERS, runs_of

WAYS = ("training", "strength")  # the paths on which a loss can be reached
MARGIN = 0.05  # nats above the lowest loss that all reach


class Band(NamedTuple):
    """Several seeds' results: their mean, the lowest and the highest."""

    mean: float
    low: float
    high: float


class Verdict(NamedTuple):
    """One contender's English beside another's, where both have learned equally much; losses in nats a letter.

    ``word`` is "less", "more" or "undecided": whether ours has forgotten less than theirs.
    """

    level: float  # the loss on the new language that both reach
    ours: Band  # the loss on English there
    theirs: Band
    word: str


def band(values):
    """Return the band of several seeds' results.

    >>> band([2.0, 1.0, 3.0])
    Band(mean=2.0, low=1.0, high=3.0)
    """
    return Band(mean(values), min(values), max(values))


def apart(one, other):
    """Return whether two bands don't overlap."""
    return one.high < other.low or other.high < one.low


def lowest(bands):
    """Return who has the lowest mean, and after it those whose bands overlap with its; one name is a clear result.

    >>> lowest({"a": Band(2.0, 1.9, 2.1), "b": Band(1.7, 1.6, 1.8), "c": Band(1.85, 1.79, 1.95)})
    ['b', 'c']
    """
    best = min(bands, key=lambda name: bands[name].mean)
    near = [name for name in bands if name != best and not apart(bands[name], bands[best])]
    return [best, *sorted(near, key=lambda name: bands[name].mean)]


def finished(entry):
    """Return ``{contender: its runs at the chosen learning rate, one a seed}`` of one language.

    Whose seeds have not all run yet is left out: it would have too narrow a band.
    """
    groups = {name: runs_of(entry, name) for name in CONTENDERS}
    seeds = max(map(len, groups.values()))
    return {name: runs for name, runs in groups.items() if runs and len(runs) == seeds}


def at_checkpoint(entry):
    """Return ``{contender: (loss on the new language, loss on English)}`` at the chosen checkpoints."""
    losses = {name: zip(*(run["loss"] for run in runs), strict=True) for name, runs in finished(entry).items()}
    return {name: tuple(band(seeds) for seeds in both) for name, both in losses.items()}


def english_at(path, level):
    """Return the loss on English where a path first reaches a loss on the new language; None if it never does.

    Between two points of the path both losses are taken as straight lines.

    Args:
        path: ``[(new language, English), …]``, from the base on.
        level: Loss on the new language.

    >>> english_at([(3.0, 2.0), (2.0, 3.0), (1.5, 4.0)], 2.5)
    2.5
    """
    before = None
    for new, english in path:
        if new <= level:
            if before is None or new == before[0]:
                return english
            share = (before[0] - level) / (before[0] - new)
            return before[1] + share * (english - before[1])
        before = new, english
    return None


def common_level(groups, way="training", margin=MARGIN):
    """Return the lowest loss on the new language that every run reaches on this path, with ``margin`` on top.

    Args:
        groups: The contenders' runs.
        way: One of WAYS.
        margin: Nats a letter.
    """
    return max(min(new for new, _ in run[way]) for runs in groups for run in runs) + margin


def english_by_contender(entry, way="training", level=None):
    """Return ``{contender: loss on English}`` where all have learned equally much.

    Args:
        entry: ``load_result("forgetting")["results"][language]``.
        way: One of WAYS.
        level: The loss on the new language; None means `common_level`. Who has a run that does not reach it is left
            out.
    """
    groups = finished(entry)
    level = common_level(list(groups.values()), way) if level is None else level
    found = {name: [english_at(run[way], level) for run in runs] for name, runs in groups.items()}
    return {name: band(seeds) for name, seeds in found.items() if None not in seeds}


def compare(ours, theirs, way="training", margin=MARGIN):
    """Return the verdict on two contenders' runs, at the `common_level` of these."""
    level = common_level([ours, theirs], way, margin)
    bands = [band([english_at(run[way], level) for run in runs]) for runs in (ours, theirs)]
    word = "undecided" if not apart(*bands) else "less" if bands[0].mean < bands[1].mean else "more"
    return Verdict(level, *bands, word)


def verdicts(entry, way="training", against="full", margin=MARGIN):
    """Return ``{contender: verdict against full fine-tuning}``, each pair at its own `common_level`.

    Args:
        entry: ``load_result("forgetting")["results"][language]``.
        way: One of WAYS.
        against: The contender that all others are compared with.
        margin: As for `common_level`.
    """
    groups = finished(entry)
    theirs = groups.pop(against)
    return {name: compare(ours, theirs, way, margin) for name, ours in groups.items()}


def english_by_rate(entry, name, level, way="training"):
    """Return ``{learning rate: loss on English}`` of one contender at one loss on the new language, lowest rate first.

    For the first seed, with the rates that do reach the level. It shows how much of a difference between contenders is
    due to the learning rate alone.

    Args:
        entry: ``load_result("forgetting")["results"][language]``.
        name: One of CONTENDERS.
        level: The loss on the new language.
        way: One of WAYS.
    """
    runs = sorted(entry["runs"][name], key=lambda run: run["lr"])
    seed = min(run["seed"] for run in runs)
    found = {run["lr"]: english_at(run[way], level) for run in runs if run["seed"] == seed}
    return {lr: english for lr, english in found.items() if english is not None}
