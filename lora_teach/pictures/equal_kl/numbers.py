"""Runs that learned from a reward, compared where they are equally far from the base, or have equal success.

What is read lies in ``data/rewards.json``; ``data/make_rewards.py`` makes it.
"""

from statistics import mean
from typing import Any, NamedTuple

from lora_teach.measure.rewarding import where

NO_PENALTY, PENALTY = "0.0", "0.1"  # with the penalty the runs move slowly enough to be compared between two looks


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
    """Return ``{contender: Span}`` where all seeds of a contender reach ``level`` nats a name with the penalty."""
    spans = {}
    for name, entry in results["contenders"].items():
        runs = entry["runs"][PENALTY]
        values = at_level(runs, "kl", level, wanted)
        if len(values) == len(runs):
            spans[name] = spanned(values)
    return spans


def share_of_full(results: dict[str, Any], name: str, level: float) -> list[float]:
    """Return, a number a seed, what share of full fine-tuning's mean gain in success a contender has at this KL."""
    base = results["base"]["success"]
    full = mean(at_level(results["contenders"]["full"]["runs"][PENALTY], "kl", level, "success")) - base
    own = at_level(results["contenders"][name]["runs"][PENALTY], "kl", level, "success")
    return [(one - base) / full for one in own]


def ends(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return ``{contender and penalty: what the seeds' last looks have in the mean}``, the base first.

    Keys are those of `lora_teach.measure.rewarding.looked_at`; ``favourite`` lists each seed's.
    """
    rows = {"the base": results["base"]}
    for name, entry in results["contenders"].items():
        for weight, runs in entry["runs"].items():
            rows[f"{name}, {'no penalty' if weight == NO_PENALTY else f'penalty {weight}'}"] = {
                key: [run[key][-1] for run in runs] if key == "favourite" else mean(run[key][-1] for run in runs)
                for key in results["base"]
            }
    return rows


def ends_as_markdown(results: dict[str, Any]) -> str:
    """Return them as a table."""
    head = ("", "liked", "different", "KL", "loss on Finnish", "on English", "most often (three seeds)")
    lines = [" | ".join(head), "|".join(["---"] + ["---:"] * 5 + ["---"])]
    for what, row in ends(results).items():
        names = [row["favourite"]] if isinstance(row["favourite"], str) else row["favourite"]
        numbers = f"{row['success']:.0%} | {row['distinct']:.0%} | {row['kl']:.1f} | {row['language']:.2f}"
        lines.append(f"{what} | {numbers} | {row['English']:.2f} | {', '.join(names)}")
    return "\n".join(f"| {line} |" for line in lines)
