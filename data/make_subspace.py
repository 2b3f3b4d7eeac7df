"""How few numbers suffice? A model that may move in d random directions only: accuracy against d, from 8 to 4,096.

    OMP_NUM_THREADS=1 python data/make_subspace.py digits  25 minutes on a busy core
    OMP_NUM_THREADS=1 python data/make_subspace.py names   12 minutes; each fills its part of data/subspace.json

DigitNet on turned and inverted digits, and on turned ones from a network that has learned nothing; NameGPT on Zulu
names. Full fine-tuning beside it. Learning rates are chosen with the first seed on validation data; reported on test
data, three seeds.
"""

import argparse
import json
import time
from pathlib import Path

from lora_teach.bases import accuracy, evaluate, load_digit_net, load_name_gpt
from lora_teach.bases.digit_net import DigitNet
from lora_teach.datasets import digits, names
from lora_teach.measure.random_subspace import RandomSubspace
from lora_teach.measure.results import write_result
from lora_teach.measure.retraining import train_digits
from lora_teach.measure.tuning import FULL, best_learning_rate, trainable_copy, tune

TASKS = {  # digits, and the network that training starts from
    "turned by 30°": (lambda: digits.rotated(30), load_digit_net),
    "turned by 90°": (lambda: digits.rotated(90), load_digit_net),
    "inverted": (digits.inverted, load_digit_net),
    "turned by 30°, from scratch": (lambda: digits.rotated(30), DigitNet),
}
SETTINGS = {
    "digits": {
        "sizes": [8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096],
        "rates": [0.003, 0.01, 0.03, 0.1, 0.3],
        "start": 0.03,
        "full rates": [0.001, 0.003, 0.01],
        "steps": 400,
    },
    "names": {
        "language": "Zulu",
        "sizes": [16, 64, 256, 1024, 4096],
        "rates": [0.01, 0.03, 0.1, 0.3],
        "start": 0.1,
        "full rates": [0.001],
        "steps": 300,
        "patience": 60,
    },
    "seeds": [0, 1, 2],
}


def mover(base, size, seed):
    """Return a model in which ``size`` numbers train: of ``base``, a random subspace of it, or all for FULL."""
    return trainable_copy(base) if size is FULL else RandomSubspace(base, size, seed)


def entry(run, rates, start, seeds):
    """Choose a rate with the first seed, report every seed; ``run(lr, seed)`` gives a validation loss and a score."""
    first = {}

    def trial(lr):
        first[lr] = run(lr, seeds[0])
        return first[lr][0]

    lr, tried = best_learning_rate(trial, rates, start)
    test = [first[lr][1], *(run(lr, seed)[1] for seed in seeds[1:])]
    return {"lr": lr, "tried": {str(rate): loss for rate, loss in tried.items()}, "test": test}


def digit_entry(make_split, make_base, size, rates, start, seeds, steps):
    """One size (None: everything) on one task: the `entry`, with the share of test digits read right as its score."""
    split = make_split()

    def run(lr, seed):
        model = train_digits(mover(make_base(), size, seed), split, steps=steps, seed=seed, lr=lr).model
        return 1 - accuracy(model, *split.validation), accuracy(model, *split.test)

    return entry(run, rates, start, seeds)


def name_entry(language, size, rates, start, seeds, steps, patience):
    """One size on one language: the `entry`, with the loss on test names as its score, in nats a letter."""

    def run(lr, seed):
        model = mover(load_name_gpt(), size, seed)
        tuned = tune(model, language, lr=lr, steps=steps, patience=patience, seed=seed)
        return tuned.best_validation, evaluate(model, names.load(language).test)

    return entry(run, rates, start, seeds)


def swept(one, settings, **options):
    """``one`` size after the other, full fine-tuning last: ``{size as text, or "full": entry}``."""
    found = {}
    for size in (*settings["sizes"], FULL):
        rates, start = (settings["full rates"], None) if size is FULL else (settings["rates"], settings["start"])
        name = "full" if size is FULL else str(size)
        found[name] = one(size=size, rates=rates, start=start, steps=settings["steps"], **options)
        print(name, found[name]["lr"], [round(score, 3) for score in found[name]["test"]], flush=True)
    return found


def main():
    """Run one part and write it beside the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["digits", "names"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "subspace.json")
    options, began, results = parser.parse_args(), time.perf_counter(), {}
    part, settings, seeds = options.part, SETTINGS[options.part], SETTINGS["seeds"]
    if part == "digits":
        for task, (make_split, make_base) in TASKS.items():
            print(task, flush=True)
            found = swept(digit_entry, settings, make_split=make_split, make_base=make_base, seeds=seeds)
            results[task] = {"base": accuracy(make_base(), *make_split().test), "by size": found}
    else:
        language = settings["language"]
        found = swept(name_entry, settings, language=language, patience=settings["patience"], seeds=seeds)
        results[language] = {"base": evaluate(load_name_gpt(), names.load(language).test), "by size": found}
    results = {part: results | {"seconds": round(time.perf_counter() - began)}}
    before = json.loads(options.out.read_text(encoding="utf-8"))["results"] if options.out.exists() else {}
    together = {one: (before | results)[one] for one in ("digits", "names") if one in {*before, *results}}
    seconds = sum(one["seconds"] for one in together.values())
    unit = "share of the test digits read right; nats a letter"
    write_result(options.out, "subspace", SETTINGS, together, seconds, unit=unit, flat=True)


if __name__ == "__main__":
    main()
