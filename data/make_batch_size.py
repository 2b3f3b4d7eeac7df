"""Batch size: does LoRA suffer from large batches, or from few steps? DigitNet, at equally many examples and steps.

    OMP_NUM_THREADS=1 python data/make_batch_size.py [--out data/batch_size.json]      14 minutes on a busy core

LoRA of rank 4 and 64 (α = 8, α/r) and full fine-tuning, with batches of 16, 64 and 256. Each learning rate is chosen
with the first seed on validation digits, for each batch size its own; beside it stands the rate of batch 64, carried
over. Reported on test digits, three seeds.
"""

import argparse
import time
from pathlib import Path

from lora_teach.bases import load_digit_net
from lora_teach.datasets import digits
from lora_teach.measure.results import write_result
from lora_teach.measure.retraining import HIDDEN, digit_batches
from lora_teach.measure.tuning import FULL, best_learning_rate, label, trainable_copy
from lora_teach.training import NonFiniteLoss, training_steps
from lora_teach.utils.threads import one_thread

import torch
import torch.nn.functional as F

SETTINGS = {
    "tasks": ["turned by 90°", "inverted"],
    "budgets": ["equal examples", "equal steps"],
    "batch_sizes": [16, 64, 256],
    "usual": 64,  # the batch size whose rate is carried over
    "examples": 12_800,  # the budget, and with batches of 64 its 200 steps
    "ranks": [4, 64, FULL],
    "alpha": 8,
    "rates": [0.001, 0.003, 0.01, 0.03, 0.1],
    "start": 0.01,
    "seeds": [0, 1, 2],
}


def steps_of(budget, batch_size, settings=SETTINGS):
    """Return how many steps a budget allows at this batch size."""
    return settings["examples"] // (settings["usual"] if budget == "equal steps" else batch_size)


def run(base, split, rank, lr, batch_size, steps, seed, alpha=8):
    """Train once, with fresh batches; return the loss on validation and on test digits (inf where it blew up)."""
    options = {} if rank is FULL else {"alpha": alpha, "target_modules": HIDDEN}
    model = trainable_copy(base, rank, seed, **options)
    batches = digit_batches(split, steps, batch_size, seed)
    with one_thread(), torch.no_grad():
        try:
            with torch.enable_grad():
                for _ in training_steps(model, batches, F.cross_entropy, lr=lr, steps=steps, seed=seed):
                    pass
        except NonFiniteLoss:
            return [float("inf")] * 2
        return [F.cross_entropy(model(x), y).item() for x, y in (split.validation, split.test)]


def contender(base, split, rank, budget, settings=SETTINGS):
    """Return a contender's entries by batch size: ``lr``, ``tried``, ``test`` and ``carried over``, losses in nats."""
    entries, seeds = {}, settings["seeds"]
    for batch_size in settings["batch_sizes"]:
        steps, runs = steps_of(budget, batch_size, settings), {}

        def one(lr, seed, runs=runs, batch_size=batch_size, steps=steps):
            if (lr, seed) not in runs:
                runs[lr, seed] = run(base, split, rank, lr, batch_size, steps, seed, settings["alpha"])
            return runs[lr, seed]

        lr, tried = best_learning_rate(lambda lr: one(lr, seeds[0])[0], settings["rates"], settings["start"])
        entries[str(batch_size)] = {
            "steps": steps,
            "lr": lr,
            "tried": {str(rate): loss for rate, loss in tried.items()},
            "test": [one(lr, seed)[1] for seed in seeds],
        }
        entries[str(batch_size)]["run"] = one
    usual = entries[str(settings["usual"])]["lr"]
    for entry in entries.values():
        one = entry.pop("run")
        entry["carried over"] = [one(usual, seed)[1] for seed in seeds]
    return entries


def main():
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "batch_size.json")
    out, base, began, results = parser.parse_args().out, load_digit_net(), time.perf_counter(), {}
    splits = {"turned by 90°": digits.rotated(90), "inverted": digits.inverted()}
    for task in SETTINGS["tasks"]:
        results[task] = {}
        for budget in SETTINGS["budgets"]:
            found = {label(rank): contender(base, splits[task], rank, budget) for rank in SETTINGS["ranks"]}
            results[task][budget] = found
            for name, entries in found.items():
                print(task, budget, name, {size: (e["lr"], e["test"]) for size, e in entries.items()}, flush=True)
    seconds = time.perf_counter() - began
    write_result(out, "batch_size", SETTINGS, results, seconds, unit="nats a test digit", flat=True)


if __name__ == "__main__":
    main()
