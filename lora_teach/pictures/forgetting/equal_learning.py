"""Who forgets less where all have learned equally much? Read off the runs of `lora_teach.pictures.forgetting.numbers`.

A fine-tuning that has learned more has usually forgotten more, so the finished models say little about which way of
training forgets less. Here each run is taken where it first reaches one loss on the new language: on its way through
training, or, with the finished update, turned up from nothing. That loss is what every run reaches, and MARGIN more,
since near its lowest loss a run forgets and learns nothing for it. The rule for every verdict: a band goes from the
lowest to the highest seed, and where two bands overlap it is undecided.

An ``entry`` is ``load_result("forgetting")["results"][language]``; losses are in nats a letter.
"""

from statistics import mean
from typing import NamedTuple

from lora_teach.pictures.forgetting.numbers import CONTENDERS

WAYS = ("training", "strength")  # the paths on which a loss can be reached
MARGIN = 0.05  # nats above the lowest loss that all reach


class Band(NamedTuple):
    """Several seeds' results: their mean, the lowest and the highest."""

    mean: float
    low: float
    high: float


def band(values):
    """Return the band of several seeds' results.

    >>> band([2.0, 1.0, 3.0])
    Band(mean=2.0, low=1.0, high=3.0)
    """
    return Band(mean(values), min(values), max(values))


def lies(one, other):
    """Tell whether one band lies "above" or "below" another; "undecided" where they overlap or touch.

    >>> lies(band([3, 4]), band([1, 2])), lies(band([1, 2]), band([3])), lies(band([1, 3]), band([2]))
    ('above', 'below', 'undecided')
    """
    return "above" if one.low > other.high else "below" if one.high < other.low else "undecided"


def runs_of(entry, name, lr=None):
    """Return a contender's runs at this learning rate, or at the chosen one, in the order of their seeds."""
    lr = entry["lr"].get(name) if lr is None else lr
    return sorted((run for run in entry["runs"].get(name, []) if run["lr"] == lr), key=lambda run: run["seed"])


def finished(entry):
    """Return ``{contender: its runs at the chosen learning rate, one a seed}`` of one language.

    Whose seeds have not all run yet is left out: it would have too narrow a band.
    """
    groups = {name: runs_of(entry, name) for name in CONTENDERS}
    seeds = max(map(len, groups.values()))
    return {name: runs for name, runs in groups.items() if runs and len(runs) == seeds}


def english_at(path, level):
    """Return the loss on English where a path first reaches a loss on the new language; None if it never does.

    ``path`` is ``[(new language, English), …]``, from the base on; between two points both losses are taken as straight
    lines.

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


def equal_learning(groups, way="training", margin=MARGIN):
    """Return the loss on the new language that every run reaches on this path, and the loss on English there.

    ``groups`` are ``{contender: runs}``, ``way`` is one of WAYS; the level lies ``margin`` above the lowest that all
    reach. English comes as ``{contender: Band}``.
    """
    level = max(min(new for new, _ in run[way]) for runs in groups.values() for run in runs) + margin
    return level, {name: band([english_at(run[way], level) for run in runs]) for name, runs in groups.items()}


def beside_full(entry, name, way="training", margin=MARGIN):
    """Return the loss on English, as Bands, of a contender and of full fine-tuning where both have learned as much."""
    groups = finished(entry)
    _, bands = equal_learning({one: groups[one] for one in (name, "full")}, way, margin)
    return bands[name], bands["full"]
