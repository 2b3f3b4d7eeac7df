"""Run the variants side by side: each at every learning rate, with three seeds, on digits and on names.

    OMP_NUM_THREADS=1 python data/make_variants.py [digits names two_rates cost] [--out data/variants.json]

Rates are chosen on validation data, results are of test data. What the file has already is kept: called again, the
command carries on.
"""

import argparse
import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from lora_teach.bases import accuracy, evaluate, load_digit_net, load_name_gpt, name_loss
from lora_teach.bases.digit_net import DigitNet
from lora_teach.datasets import digits, names
from lora_teach.measure.clock import take_turns
from lora_teach.measure.learned import matrices, updates
from lora_teach.measure.predicted_memory import predict_memory
from lora_teach.measure.random_update import with_random_updates
from lora_teach.measure.results import write_result
from lora_teach.measure.retraining import retrain
from lora_teach.measure.separate_rates import train_separate_rates
from lora_teach.measure.tuning import best_learning_rate, count_trainable
from lora_teach.measure.variants import CONTENDERS, LARGE_ALPHA, RANDOM_START, on_digits, on_names, optimizer, ready
from lora_teach.pictures.magnitudes.numbers import layer_points

PARTS = ("digits", "names", "two_rates", "cost")
UNIT = "digits: share of the test digits read right; names: nats a letter"
DIGITS = {  # what it is adapted to, and from which base; the last is PiSSA's own toy
    "turned by 90°": lambda: (digits.rotated(90), load_digit_net()),
    "inverted": lambda: (digits.inverted(), load_digit_net()),
    "odd to even": lambda: (parity(0), odd_net()),
}
NAMES = [contender for contender in CONTENDERS if contender not in (RANDOM_START, LARGE_ALPHA)]
MEASURED = ("LoRA", "DoRA", "full")  # whose magnitudes and directions are looked at
SETTINGS = {
    "contenders": CONTENDERS,
    "seeds": [0, 1, 2],
    "shared_rate": 1e-3,  # AdamW's default in torch, and for every contender the same
    "digits": {
        "steps": 200,
        "learning_rates": [0.00032, 0.00056, 0.001, 0.0018, 0.0032, 0.0056, 0.01, 0.018, 0.032, 0.056, 0.1],
    },
    "odd net": {"steps": 600, "lr": 0.001},
    "two_rates": {"steps": 200, "rank": 8, "learning_rates": [1e-4, 3.2e-4, 1e-3, 3.2e-3, 1e-2, 3.2e-2, 1e-1, 3.2e-1]},
    "names": {
        "language": "Zulu",
        "learning_rates": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2],
        "start": {"LoRA": 3e-3, "full": 1e-3},  # where the search begins
        "steps": 120,
        "check_every": 20,
        "looks": [40, 80, 120],  # steps at which magnitude and direction are measured
    },
    "cost": {"rounds": 40, "batch_size": 32},
}


def parity(remainder):
    """Return the upright digits that leave this remainder when halved: the even ones (0) or the odd ones (1)."""
    return digits.Digits(*((x[y % 2 == remainder], y[y % 2 == remainder]) for x, y in digits.upright()))


def odd_net():
    """Return a DigitNet that has seen odd digits alone."""
    return retrain(parity(1), base=DigitNet(), **SETTINGS["odd net"]).model.eval()


def searched(run, rates, seeds, start=None, shared=None):
    """Search a contender's learning rate and return its entry.

    Args:
        run: ``run(lr, seed)`` trains once and returns ``(loss on validation data, result on test data, control)``:
            the control is the result of a random update of the same size, or None.
        rates: The grid.
        seeds: All run at every rate that is tried.
        start: Where the search begins, as `best_learning_rate` takes it; None tries the whole grid.
        shared: The rate at which all run in any case.

    Returns:
        ``lr`` (the chosen one), ``validation`` and ``test``, ``{lr: [one a seed]}``, and ``random``, the controls at
        the chosen rate.
    """
    runs = {}

    def loss(lr):
        if lr not in runs:
            runs[lr] = {seed: run(lr, seed) for seed in seeds}
        return sum(runs[lr][seed][0] for seed in seeds)

    best, _ = best_learning_rate(loss, rates, start)
    if shared is not None:
        loss(shared)
    controls = [runs[best][seed][2] for seed in seeds]
    validation, test = (
        {str(lr): [each[seed][k] for seed in seeds] for lr, each in sorted(runs.items())} for k in (0, 1)
    )
    return {"lr": best, "validation": validation, "test": test} | ({} if None in controls else {"random": controls})


def digit_entry(base, contender, split, settings, seeds, shared):
    """Return one contender's entry on these digits: shares read right, 0 to 1; validation has them below zero."""

    def run(lr, seed):
        trained = on_digits(contender, split, base, lr, seed=seed, steps=settings["steps"])
        control = None
        if contender != "full":
            control = accuracy(with_random_updates(base, trained.model, seed), *split.test)
        return -accuracy(trained.model, *split.validation), trained.accuracy, control

    return searched(run, settings["learning_rates"], seeds)


def name_entry(base, contender, language, settings, seeds, shared):
    """Return one contender's entry on a language: nats a letter, how many numbers it trains, and its ``magnitudes``.

    These, for LoRA, DoRA and full fine-tuning, are what `layer_points` has of each look, one dict a seed.
    """
    rank, before, looked = CONTENDERS[contender].get("rank"), matrices(base), {}
    length = {key: settings[key] for key in ("steps", "check_every")}

    def run(lr, seed):
        seen = looked[lr, seed] = {}

        def look(step, model):
            if contender in MEASURED and step in settings["looks"]:
                seen[str(step)] = layer_points(before, updates(base, model), rank, seed)

        tuned, model = on_names(contender, language, base, lr, seed=seed, watch=look, **length)
        test = names.load(language).test
        control = evaluate(with_random_updates(base, model, seed), test) if rank else None
        return tuned.best_validation, evaluate(model, test), control

    start = settings["start"].get(contender, settings["start"]["LoRA"])
    entry = searched(run, settings["learning_rates"], seeds, start, shared)
    entry["trainable"] = count_trainable(ready(base, contender))
    if contender in MEASURED:
        entry["magnitudes"] = [looked[entry["lr"], seed] for seed in seeds]
    return entry


def two_rates(settings, seeds):
    """Return the share of validation digits read right by A's rate (rows) and B's (columns), one such table a seed."""
    (split, base), rates = DIGITS["turned by 90°"](), settings["learning_rates"]
    options = {"rank": settings["rank"], "steps": settings["steps"], "base": base}

    def read(lr_A, lr_B, seed):
        run = train_separate_rates(split, lr_A=lr_A, lr_B=lr_B, seed=seed, **options)
        return accuracy(run.model, *split.validation)

    return [[[read(lr_A, lr_B, seed) for lr_B in rates] for lr_A in rates] for seed in seeds]


def cost(contenders, rounds, batch_size):
    """Return ``{contender: {"ms": …, "bytes": …, "weights": …}}`` on NameGPT: a step's median time, what it holds."""
    base, split = load_name_gpt(), names.load("Zulu")
    batch, targets = next(iter(names.batches(split.train, batch_size)))
    calls, held = {}, {}
    for contender in contenders:
        model, options = ready(base, contender), CONTENDERS[contender]
        calls[contender] = partial(step, model, optimizer(model, contender, 1e-3), batch, targets)
        kind = {"rank": options.get("rank"), "variant": options.get("variant", "lora")}
        memory = predict_memory(base, *batch.shape, **kind)
        if "bits" in options:
            memory = replace(memory, weights=stored_bytes(model.base_model))
        held[contender] = {"bytes": memory.total, "weights": memory.weights}
    milliseconds = take_turns(calls, rounds=rounds)
    return {contender: {"ms": milliseconds[contender], **held[contender]} for contender in contenders}


def step(model, optimizer, batch, targets):
    """Take one step of training."""
    optimizer.zero_grad()
    name_loss(model(batch), targets).backward()
    optimizer.step()


def stored_bytes(model):
    """Return the bytes of a model's parameters and buffers."""
    return sum(tensor.numel() * tensor.itemsize for tensor in (*model.parameters(), *model.buffers()))


def planned(parts):
    """Yield ``(keys, make)``: where a result belongs in the file, and what makes it."""
    seeds, shared = SETTINGS["seeds"], SETTINGS["shared_rate"]
    name_gpt = load_name_gpt()
    for task, make in DIGITS.items() if "digits" in parts else ():
        split, base = make()
        yield ("digits", task, "base"), partial(accuracy, base, *split.test)
        for contender in CONTENDERS:
            given = base, contender, split, SETTINGS["digits"], seeds, shared
            yield ("digits", task, contender), partial(digit_entry, *given)
    if "names" in parts:
        language = SETTINGS["names"]["language"]
        yield ("names", language, "base"), partial(evaluate, name_gpt, names.load(language).test)
        for contender in NAMES:
            given = name_gpt, contender, language, SETTINGS["names"], seeds, shared
            yield ("names", language, contender), partial(name_entry, *given)
    if "cost" in parts:
        yield ("cost",), partial(cost, NAMES, **SETTINGS["cost"])
    if "two_rates" in parts:
        yield ("two_rates",), partial(two_rates, SETTINGS["two_rates"], seeds)


def kept(path):
    """Return what the file has already: ``results`` and ``seconds``."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"results": {}, "seconds": 0}


def place_of(keys, results):
    """Return the dict in which the last key belongs; it is made if it is missing."""
    for key in keys[:-1]:
        results = results.setdefault(key, {})
    return results


def main():
    """Make what is missing, and write the file after each result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"{', '.join(PARTS)}; all if none is named")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "variants.json")
    given = parser.parse_args()
    for keys, make in planned(given.parts):
        if keys[-1] in place_of(keys, kept(given.out)["results"]):
            continue
        began = time.perf_counter()
        entry = make()
        file = kept(given.out)  # read again: another part may have been running beside this one
        place_of(keys, file["results"])[keys[-1]] = entry
        seconds = file["seconds"] + time.perf_counter() - began
        write_result(given.out, "variants", SETTINGS, file["results"], seconds, unit=UNIT, flat=True)
        if "lr" in (entry if isinstance(entry, dict) else ()):
            print(*keys, f"lr {entry['lr']:g}", *(f"{one:.3f}" for one in entry["test"][str(entry["lr"])]), flush=True)


if __name__ == "__main__":
    main()
