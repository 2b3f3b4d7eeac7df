"""What the literature says is in ΔW, held against ``data/learned.json`` and ``data/forgetting.json``, by one rule.

A claim is written as "these numbers lie above those". Each side is a band, from the lowest to the highest seed (or a
single bound). The claim **holds here** if its band lies wholly above the other, it **fails here** if it lies wholly
below, and where the bands overlap it is **undecided**. What holds of random updates of the same size and rank as well
(``data/control.json``) **holds at random too**: it says nothing about what was learned.
"""

from statistics import mean, median
from typing import NamedTuple

from lora_teach.measure.results import load_result
from lora_teach.measure.subspace import random_similarities
from lora_teach.pictures.forgetting.equal_learning import band, beside_full, finished, lies

import numpy as np

HU, BIDERMAN, SHUTTLEWORTH = "Hu 2021", "Biderman 2024", "Shuttleworth 2024"
OURS = "our question"
HOLDS, FAILS, UNDECIDED, CHANCE = "holds here", "fails here", "undecided", "holds at random too"


class Claim(NamedTuple):
    """One claim on one language: what is said, by whom, the two sides that are compared, and the verdict.

    ``random`` is what takes the first side's place where the update is a random one; empty where nothing does.
    """

    text: str
    source: str
    language: str
    above: tuple  # one number a seed
    below: tuple  # the same, or a single bound
    verdict: str
    random: tuple = ()

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


def judged(above, below, random=(), random_below=None):
    """Return the verdict under the control: as `verdict`, but `CHANCE` where random updates fulfil the claim too.

    >>> judged([3, 4], [1, 2], random=[0, 1]), judged([3, 4], [1, 2], random=[5, 6])
    ('holds here', 'holds at random too')
    """
    word = verdict(above, below)
    chance = random and verdict(random, below if random_below is None else random_below) == HOLDS
    return CHANCE if word == HOLDS and chance else word


def learned_claims(language, result=None, control=None):
    """Return the claims about ΔW itself, on one language.

    Args:
        language: One of the results' languages.
        result: What ``load_result("learned")`` gives; None loads it.
        control: What ``load_result("control")`` gives; None loads it.
    """
    result, control = result or load_result("learned"), control or load_result("control")
    settings, entry = result["settings"], result["results"][language]
    epsilon, off = str(settings["epsilon"]), settings["factors"].index(0.75)
    runs = {name: contender["runs"] for name, contender in entry["contenders"].items()}
    drawn = {name: contender["runs"] for name, contender in control["results"][language].items()}
    base, most, phi = entry["base"][1], settings["directions"], entry["similarities"]["by_layer"]
    inputs = list(entry["similarities"]["inputs"].values())
    chance = {count: chance_of_overlap(inputs, count) for count in (1, most)}
    by_dial = [
        run["matched"]["loss"][1] - run["intruders shrunk"][off][1] for run in runs["LoRA r=8"]
    ]  # one a seed: the English that intruders at three quarters leave less of than the dial does
    of_runs, of_drawn = _about_updates(runs, epsilon, off), _about_updates(drawn, epsilon, off)
    rows = [(text, source, *of_runs[text, source], *of_drawn[text, source]) for text, source in of_runs]
    shrinking = [text for text, _ in of_runs].index("shrinking them by a quarter gives English back")
    rows.insert(shrinking + 1, ("… more than turning down all of ΔW for as much loss", OURS, by_dial, [0]))
    rows += [
        ("the first direction of r = 8 is that of r = 64: φ > 0.5", HU, _phi(phi["r=8 and r=64"], 1), [0.5], chance[1]),
        ("two seeds of r = 8 share the first: φ > 0.5", OURS, _phi(phi["r=8, two seeds"], 1), [0.5], chance[1]),
        (f"two seeds share more of {most} directions than chance", HU, _phi(phi["r=8, two seeds"], most), chance[most]),
    ]
    learned, random = _of_rank_8(runs, epsilon, off, base), _of_rank_8(drawn, epsilon, off, base)
    rows += [
        ("a random update takes more directions than r = 8", OURS, random["directions"], learned["directions"]),
        ("beside it, r = 8 has more intruders", OURS, learned["intruders"], random["intruders"]),
        ("… shrinking them gives back more of the lost English", OURS, learned["share"], random["share"]),
        ("… it forgets more English", OURS, learned["English"], random["English"]),
        ("… W is stronger along it", OURS, learned["emphasis"], random["emphasis"]),
    ]
    return [
        Claim(text, source, language, tuple(a), tuple(b), judged(a, b, *control), tuple(control[0]) if control else ())
        for text, source, a, b, *control in rows
    ]


def _about_updates(runs, epsilon, off):
    """Return ``{(text, source): (above, below)}`` of the claims about updates alone, learned or random ones."""
    counts = {name: [sum(run["intruders"][epsilon]) for run in several] for name, several in runs.items()}
    needs = [mean(run["directions"]) for run in runs["full"]]
    regained = [run["intruders shrunk"][-1][1] - run["intruders shrunk"][off][1] for run in runs["LoRA r=8"]]
    emphasis = [mean(run["emphasis"]) for run in runs["LoRA r=8"]]
    return {
        ("full's ΔW has over 10 times LoRA's rank, r = 8", BIDERMAN): (needs, [10 * 8]),
        ("full's ΔW has over 10 times LoRA's rank, r = 1", BIDERMAN): (needs, [10 * 1]),
        ("LoRA has intruder dimensions (r = 8)", SHUTTLEWORTH): (counts["LoRA r=8"], [0]),
        ("full fine-tuning has none: 1 is above its count", SHUTTLEWORTH): ([1], counts["full"]),
        ("LoRA r = 1 has more of them than full", SHUTTLEWORTH): (counts["LoRA r=1"], counts["full"]),
        ("a low rank has more than a high one (8 and 64)", SHUTTLEWORTH): (counts["LoRA r=8"], counts["LoRA r=64"]),
        ("shrinking them by a quarter gives English back", SHUTTLEWORTH): (regained, [0]),
        ("LoRA's ΔW at r = 8 amplifies: factor above 1", HU): (_median(runs["LoRA r=8"], "amplification"), [1]),
        ("LoRA's ΔW at r = 64 does too", HU): (_median(runs["LoRA r=64"], "amplification"), [1]),
        ("W is weak along ΔW: halfway from chance to most is above it", HU): ([0.5], emphasis),
    }


def _of_rank_8(runs, epsilon, off, base):
    """Return what is compared between a learned and a random update of rank 8, one number a seed each."""
    paths = [run["intruders shrunk"] for run in runs["LoRA r=8"]]  # the last is the update as it is
    return {
        "directions": [mean(run["directions"]) for run in runs["LoRA r=8"]],
        "intruders": [sum(run["intruders"][epsilon]) for run in runs["LoRA r=8"]],
        "share": [(path[-1][1] - path[off][1]) / (path[-1][1] - base) for path in paths],
        "English": [path[-1][1] for path in paths],
        "emphasis": [mean(run["emphasis"]) for run in runs["LoRA r=8"]],
    }


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
            (f"full forgets more than {name}", english, forgot),
            (f"full forgets more than {name} where both have learned equally much", theirs[1:], ours[1:]),
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
