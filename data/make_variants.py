"""Run the variants side by side: each at every learning rate, with three seeds, on digits and on names.

    OMP_NUM_THREADS=1 python data/make_variants.py [digits two_rates names cost] [--out data/variants.json]

Named parts are made again, the others stay as they are in the file. Rates are chosen on validation data, results are
of test data.
"""

import argparse
import json
import time
from pathlib import Path

from lora_teach.bases import accuracy, evaluate, load_digit_net, load_name_gpt
from lora_teach.datasets import digits, names
from lora_teach.measure.learned import matrices, updates
from lora_teach.measure.random_update import with_random_updates
from lora_teach.measure.results import write_result
from lora_teach.measure.separate_rates import train_separate_rates
from lora_teach.measure.tuning import best_learning_rate, count_trainable
from lora_teach.measure.variants import CONTENDERS, on_digits, on_names, ready
from lora_teach.pictures.magnitudes.numbers import layer_points

SETTINGS = {
    "contenders": CONTENDERS,
    "seeds": [0, 1, 2],
    "shared_rate": 1e-3,  # AdamW's default in torch, and for every contender the same
    "digits": {
        "steps": 200,
        "learning_rates": [0.00032, 0.00056, 0.001, 0.0018, 0.0032, 0.0056, 0.01, 0.018, 0.032, 0.056, 0.1],
    },
    "two_rates": {"steps": 200, "rank": 8, "learning_rates": [1e-4, 3.2e-4, 1e-3, 3.2e-3, 1e-2, 3.2e-2, 1e-1, 3.2e-1]},
    "names": {
        "language": "Zulu",
        "learning_rates": [3e-4, 1e-3, 3e-3, 1e-2, 3e-2],
        "start": 3e-3,
        "steps": 200,
        "check_every": 20,
        "looks": [60, 120, 200],  # steps at which magnitude and direction are measured
    },
}


def searched(run, rates, seeds, start=None, always=()):
    """Search a contender's learning rate and return its entry.

    Args:
        run: ``run(lr, seed)`` trains once and returns ``(loss on validation data, result on test data, control)``:
            the control is the result of random updates of the same size, or None.
        rates: The grid.
        seeds: All run at every rate that is tried.
        start: Where the search begins, as `best_learning_rate` takes it; None tries the whole grid.
        always: Rates that are tried in any case.

    Returns:
        ``lr`` (the chosen one), ``validation`` and ``test``, ``{lr: [one a seed]}``, and ``random``, the controls at
        the chosen rate.
    """
    runs = {}

    def validation_loss(lr):
        if lr not in runs:
            runs[lr] = [run(lr, seed) for seed in seeds]
        return sum(loss for loss, _, _ in runs[lr])

    for lr in always:
        validation_loss(lr)
    best, _ = best_learning_rate(validation_loss, rates, start)
    controls = [control for _, _, control in runs[best]]
    return {
        "lr": best,
        "validation": {str(lr): [loss for loss, _, _ in each] for lr, each in sorted(runs.items())},
        "test": {str(lr): [result for _, result, _ in each] for lr, each in sorted(runs.items())},
        **({} if None in controls else {"random": controls}),
    }


def digit_entry(contender, split, base, rates, seeds, steps):
    """Return one contender's entry on these digits: shares read right, 0 to 1; validation is its negative."""

    def run(lr, seed):
        trained = on_digits(contender, split, base, lr, seed=seed, steps=steps)
        control = None
        if contender != "full":
            control = accuracy(with_random_updates(base, trained.model, seed), *split.test)
        return -accuracy(trained.model, *split.validation), trained.accuracy, control

    return searched(run, rates, seeds)


def digit_results(settings, seeds):
    """Return ``{task: {"base": …, contender: entry}}``."""
    results, base = {}, load_digit_net()
    for task, split in {"turned by 90°": digits.rotated(90), "inverted": digits.inverted()}.items():
        results[task] = {"base": accuracy(base, *split.test)}
        for contender in CONTENDERS:
            entry = digit_entry(contender, split, base, settings["learning_rates"], seeds, settings["steps"])
            results[task][contender] = entry
            print(f"{task:14} {contender:12} lr {entry['lr']:<8g}", entry["test"][str(entry["lr"])], flush=True)
    return results


def two_rates_results(settings, seeds):
    """Return the share of validation digits read right by A's rate (rows) and B's (columns), one such table a seed."""
    split, base, rates = digits.rotated(90), load_digit_net(), settings["learning_rates"]
    options = {"rank": settings["rank"], "steps": settings["steps"], "base": base}

    def read(lr_A, lr_B, seed):
        run = train_separate_rates(split, lr_A=lr_A, lr_B=lr_B, seed=seed, **options)
        return accuracy(run.model, *split.validation)

    return [[[read(lr_A, lr_B, seed) for lr_B in rates] for lr_A in rates] for seed in seeds]


def name_results(settings, seeds, shared_rate):
    """Return ``{"base": loss, contender: entry}`` in nats a letter, with ``magnitudes``, one a seed at its own rate."""
    base, language = load_name_gpt(), settings["language"]
    split, before = names.load(language), matrices(load_name_gpt())
    results = {"base": evaluate(base, split.test)}
    for contender, options in CONTENDERS.items():
        looked = {}

        def run(lr, seed, contender=contender, rank=options.get("rank"), looked=looked):
            seen = looked[lr, seed] = {}

            def look(step, model):
                if step in settings["looks"]:
                    seen[str(step)] = layer_points(before, updates(base, model), rank, seed)

            length = {key: settings[key] for key in ("steps", "check_every")}
            tuned, model = on_names(contender, language, base, lr, seed=seed, watch=look, **length)
            control = None
            if rank:
                control = evaluate(with_random_updates(base, model, seed), split.test)
            return tuned.best_validation, evaluate(model, split.test), control

        entry = searched(run, settings["learning_rates"], seeds, settings["start"], [shared_rate])
        entry["trainable"] = count_trainable(ready(base, contender))
        if contender in ("full", "LoRA", "DoRA"):
            entry["magnitudes"] = [looked[entry["lr"], seed] for seed in seeds]
        results[contender] = entry
        print(f"{language} {contender:12} lr {entry['lr']:<8g}", entry["test"][str(entry["lr"])], flush=True)
    return results


PARTS = {
    "digits": lambda: digit_results(SETTINGS["digits"], SETTINGS["seeds"]),
    "two_rates": lambda: two_rates_results(SETTINGS["two_rates"], SETTINGS["seeds"]),
    "names": lambda: name_results(SETTINGS["names"], SETTINGS["seeds"], SETTINGS["shared_rate"]),
}


def main():
    """Run the parts that are asked for and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="which; all if none is named")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "variants.json")
    given = parser.parse_args()
    kept = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    results, seconds = kept.get("results", {}), kept.get("seconds", 0)
    for part in given.parts or PARTS:
        began = time.perf_counter()
        results[part] = PARTS[part]()
        seconds += time.perf_counter() - began
        unit = "digits: share of the test digits read right; names: nats a letter"
        write_result(given.out, "variants", SETTINGS, results, seconds, unit=unit, flat=True)


if __name__ == "__main__":
    main()
