"""Runs that learned from a reward, compared where they are equally far from the base, or have equal success.

What is read lies in ``data/rewards.json``; ``data/make_rewards.py`` makes it.
"""

from statistics import mean
from typing import Any, NamedTuple

from lora_teach.measure.rewarding import where

NO_PENALTY = "0.0"


class Span(NamedTuple):
    """The lowest, the mean and the highest of the seeds."""

    low: float
    mean: float
    high: float


def spanned(values: list[float]) -> Span:
    """Return their span."""
    return Span(min(values), mean(values), max(values))


def at_level(runs: list[dict[str, Any]], key: str, level: float, wanted: str) -> list[float]:
    """Return ``wanted`` of each run where its ``key`` first reaches ``level``; runs that never do are left out."""
    found = [where(run, key, level, wanted) for run in runs]
    return [one for one in found if one is not None]


def at_equal_kl(results: dict[str, Any], level: float, wanted: str) -> dict[str, Span]:
    """Return ``{contender: Span}`` where all seeds of a contender reach ``level`` nats a name without a penalty."""
    spans = {}
    for name, entry in results["contenders"].items():
        runs = entry["runs"][NO_PENALTY]
        values = at_level(runs, "kl", level, wanted)
        if len(values) == len(runs):
            spans[name] = spanned(values)
    return spans


def share_of_full(results: dict[str, Any], name: str, level: float) -> list[float]:
    """Return, a number a seed, what share of full fine-tuning's mean gain in success a contender has at this KL."""
    base = results["base"]["success"]
    full = mean(at_level(results["contenders"]["full"]["runs"][NO_PENALTY], "kl", level, "success")) - base
    own = at_level(results["contenders"][name]["runs"][NO_PENALTY], "kl", level, "success")
    return [(one - base) / full for one in own]
