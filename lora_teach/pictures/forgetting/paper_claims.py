"""What the literature says is in ΔW, held against ``data/learned.json`` and ``data/forgetting.json``, by one rule.

A claim is written as "these numbers lie above those". Each side is a band, from the lowest to the highest seed (or a
single bound). The claim **holds here** if its band lies wholly above the other, it **fails here** if it lies wholly
below, and where the bands overlap it is **undecided**.
"""

from statistics import mean, median
from typing import NamedTuple

from lora_teach.measure.results import load_result
from lora_teach.measure.subspace import random_similarities
from lora_teach.pictures.forgetting.equal_learning import band, beside_full, finished, lies

import numpy as np

HU, BIDERMAN, SHUTTLEWORTH = "Hu 2021", "Biderman 2024", "Shuttleworth 2024"
OURS = "our question"
HOLDS, FAILS, UNDECIDED = "holds here", "fails here", "undecided"


class Claim(NamedTuple):
    """One claim on one language: what is said, by whom, the two sides that are compared, and the verdict."""

    text: str
    source: str
    language: str
    above: tuple  # one number a seed
    below: tuple  # the same, or a single bound
    verdict: str

    @property
    def numbers(self):
        """Both sides as bands: "18 to 21 against 8"."""
        return f"{_band(self.above)} against {_band(self.below)}"


def verdict(above, below):
    """Return what the rule says of "above lies above below".

    >>> verdict([3, 4], [1, 2]), verdict([1, 2], [3]), verdict([1, 3], [2])
    ('holds here', 'fails here', 'undecided')
    """
    return {"above": HOLDS, "below": FAILS}.get(lies(band(above), band(below)), UNDECIDED)


def learned_claims(language, result=None):
    """Return the claims about ΔW itself, on one language.

    Args:
        language: One of the results' languages.
        result: What ``load_result("learned")`` gives; None loads it.
    """
    result = result or load_result("learned")
    settings, entry = result["settings"], result["results"][language]
    runs = {name: contender["runs"] for name, contender in entry["contenders"].items()}
    phi = entry["similarities"]["by_layer"]
    epsilon = str(settings["epsilon"])
    counts = {name: [sum(run["intruders"][epsilon]) for run in several] for name, several in runs.items()}
    needs = {name: [mean(run["directions"]) for run in several] for name, several in runs.items()}
    three_quarters = settings["factors"].index(0.75)
    shrunk = [run["intruders shrunk"] for run in runs["LoRA r=8"]]
    regained = [path[-1][1] - path[three_quarters][1] for path in shrunk]
    at_intruders = [path[three_quarters] for path in shrunk]
    by_dial = [run["matched"]["loss"][1] for run in runs["LoRA r=8"]]
    most = settings["directions"]
    chance = chance_of_overlap(list(entry["similarities"]["inputs"].values()), most)
    rows = [
        ("full's ΔW has over 10 times LoRA's rank, r = 8", BIDERMAN, needs["full"], [10 * 8]),
        ("full's ΔW has over 10 times LoRA's rank, r = 1", BIDERMAN, needs["full"], [10 * 1]),
        ("LoRA has intruder dimensions (r = 8)", SHUTTLEWORTH, counts["LoRA r=8"], [0]),
        ("full fine-tuning has none: fewer than 1", SHUTTLEWORTH, [1], counts["full"]),
        ("LoRA r = 1 has more of them than full", SHUTTLEWORTH, counts["LoRA r=1"], counts["full"]),
        ("a high rank has fewer than a low one (64 and 8)", SHUTTLEWORTH, counts["LoRA r=8"], counts["LoRA r=64"]),
        ("shrinking them by a quarter gives English back", SHUTTLEWORTH, regained, [0]),
        (
            "… more than turning down all of ΔW for as much loss",
            OURS,
            [dial - english for dial, (_, english) in zip(by_dial, at_intruders, strict=True)],
            [0],
        ),
        ("the first direction of r = 8 is that of r = 64: φ > 0.5", HU, _phi(phi["r=8 and r=64"], 1), [0.5]),
        ("two seeds of r = 8 share the first: φ > 0.5", OURS, _phi(phi["r=8, two seeds"], 1), [0.5]),
        (f"two seeds share more of {most} directions than chance", HU, _phi(phi["r=8, two seeds"], most), chance),
        ("LoRA's ΔW at r = 8 amplifies: factor above 1", HU, _median(runs["LoRA r=8"], "amplification"), [1]),
        ("LoRA's ΔW at r = 64 does too", HU, _median(runs["LoRA r=64"], "amplification"), [1]),
        (
            "W is weak along ΔW: below halfway from chance to most",
            HU,
            [0.5],
            [mean(r["emphasis"]) for r in runs["LoRA r=8"]],
        ),
    ]
    return [Claim(text, source, language, tuple(a), tuple(b), verdict(a, b)) for text, source, a, b in rows]


def forgetting_claims(language, ranks=(1, 16, 64), result=None):
    """Return the claims of "LoRA learns less and forgets less": at the best checkpoint, and where both learned as much.

    Only those of contenders that have run on this language.

    Args:
        language: One of the results' languages.
        ranks: LoRA's.
        result: What ``load_result("forgetting")`` gives; None loads it.
    """
    entry = (result or load_result("forgetting"))["results"][language]
    runs = finished(entry)
    if "full" not in runs:
        return []
    new, english = zip(*(run["loss"] for run in runs["full"]), strict=True)
    claims = []
    for name in (f"LoRA r={rank}" for rank in ranks if f"LoRA r={rank}" in runs):
        learned, forgot = zip(*(run["loss"] for run in runs[name]), strict=True)
        ours, theirs = beside_full(entry, name)
        rows = [
            (f"{name} learns less than full: ends at a higher loss", learned, new),
            (f"{name} forgets less than full", english, forgot),
            (f"{name} forgets less where both have learned equally much", theirs[1:], ours[1:]),
        ]
        claims += [Claim(text, BIDERMAN, language, tuple(a), tuple(b), verdict(a, b)) for text, a, b in rows]
    return claims


def as_markdown(*languages):
    """Return a table: a row for each claim of the first language, a column for each language.

    Args:
        languages: The claims on one language each; "–" stands where a language lacks one.
    """
    names = [claims[0].language for claims in languages]
    lines = [f"| claim | source | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    others = [{claim.text: f"**{claim.verdict}**: {claim.numbers}" for claim in claims} for claims in languages]
    for claim in languages[0]:
        cells = " | ".join(one.get(claim.text, "–") for one in others)
        lines.append(f"| {claim.text} | {claim.source} | {cells} |")
    return "\n".join(lines)


def chance_of_overlap(inputs, most, draws=200):
    """Return the lowest and the highest mean over layers of φ(most, most), of random subspaces of their inputs."""
    by_layer = [random_similarities(size, most, most, draws, seed) for seed, size in enumerate(inputs)]
    means = np.mean([phi.numpy() for phi in by_layer], axis=0)  # (draws,)
    return [float(means.min()), float(means.max())]


def _median(runs, key):
    """The median over layers, one a run: a factor is huge where W has nearly nothing."""
    return [median(run[key]) for run in runs]


def _phi(pairs, count):
    """The mean over layers of φ(count, count), one a pair of runs."""
    return [mean(phi[count - 1] for phi in by_layer.values()) for by_layer in pairs]


def _band(values):
    low, high = min(values), max(values)
    digits = 0 if high >= 10 or all(value == int(value) for value in values) else 2
    texts = f"{low:.{digits}f}", f"{high:.{digits}f}"
    return texts[0] if texts[0] == texts[1] else " to ".join(texts)
