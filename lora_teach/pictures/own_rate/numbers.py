"""What two contenders reach at one learning rate, and each at the rate that suits it: out of ``data/variants.json``."""

from dataclasses import dataclass
from statistics import mean

from lora_teach.measure.results import load_result
from lora_teach.measure.variants import BESIDE, CONTENDERS, LARGE_ALPHA, RANDOM_START, verdict

PLAIN = ("LoRA", LARGE_ALPHA, "LoRA r=64", "full")  # who is no variant
CONTROLS = {"PiSSA": RANDOM_START}  # who was trained to be a variant's control


def variants(entries):
    """Return the names of the variants among ``{contender: entry}``, in the order of the course."""
    return [name for name in CONTENDERS if name in entries and name not in (*PLAIN, *CONTROLS.values())]


def beside(variant):
    """Return the plain LoRA that this variant is compared with."""
    return BESIDE.get(variant, "LoRA")


def digit_entries(task):
    """Return ``{contender: entry}`` for these digits, accuracies from 0 to 1, and the base's accuracy."""
    entries = dict(load_result("variants")["results"]["digits"][task])
    return entries, entries.pop("base")


def smollm2_entries():
    """Return ``{contender: entry}`` on SmolLM2: shares of the exam's sentences right, and losses on validation ones."""
    entries = {}
    for name, runs in load_result("variants_smollm2")["results"].items():
        searched = {float(lr): by_seed["0"]["validation"] for lr, by_seed in runs.items() if "0" in by_seed}
        entries[name] = {"lr": min(searched, key=searched.get)} | {
            kind: {lr: [run[kind] for run in by_seed.values()] for lr, by_seed in runs.items()}
            for kind in ("test", "validation")
        }
    return entries


def line_of(entry):
    """Return rates and the share of validation digits read right at each, mean of the seeds; two lists."""
    points = sorted((float(lr), -mean(losses)) for lr, losses in entry["validation"].items())
    return [lr for lr, _ in points], [share for _, share in points]


def at(entry, lr):
    """Return the results on test data at this rate, one a seed; none where it was not run."""
    return next((seeds for rate, seeds in entry["test"].items() if float(rate) == lr), [])


@dataclass(frozen=True)
class Compared:
    """A variant beside plain LoRA: results on test data, one a seed, and whether the variant is "ahead"."""

    ours: list
    theirs: list
    verdict: str


def compare(entries, variant, lr=None, higher=True):
    """Compare a variant with its plain LoRA at one rate for both, or, where ``lr`` is None, each at its own.

    ``higher`` says whether a higher result is the better one.
    """
    ours, theirs = (at(entry, entry["lr"] if lr is None else lr) for entry in _pair(entries, variant))
    sign = 1 if higher else -1
    return Compared(ours, theirs, verdict([sign * one for one in ours], [sign * one for one in theirs]))


def told(compared, variant, form=".0%"):
    """Say a comparison in words: ``DoRA 93 %, LoRA 94 %: level``.

    >>> told(Compared([0.5, 0.52], [0.4, 0.41], "ahead"), "DoRA")
    'DoRA 51 %, LoRA 40 %: ahead'
    """
    ours, theirs = (spaced(mean(seeds), form) for seeds in (compared.ours, compared.theirs))
    return f"{variant} {ours}, {beside(variant)} {theirs}: {compared.verdict}"


def spaced(number, form=".0%"):
    """Write a share with a space before its sign.

    >>> spaced(0.937)
    '94 %'
    """
    return f"{number:{form}}".replace("%", " %")


def _pair(entries, variant):
    return entries[variant], entries[beside(variant)]
