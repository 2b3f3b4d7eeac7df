"""Digits on black paper at every rank, alpha and learning rate of a grid: the finished runs of notebook 05's search.

    OMP_NUM_THREADS=1 python data/make_black_paper.py [--out data/black_paper.json]      13 minutes on a busy core

200 steps of LoRA (α/r) on DigitNet's two hidden layers each, three seeds: the share of validation digits read right
with the first seed, which is what a search is told, and of test digits with every seed, which it is judged by.
"""

import argparse
import time
from itertools import product
from pathlib import Path

from lora_teach.bases import accuracy, load_digit_net
from lora_teach.datasets import digits
from lora_teach.measure.results import write_result
from lora_teach.measure.retraining import retrain

SETTINGS = {
    "ranks": [1, 2, 4, 8, 16, 32],
    "alphas": [8, 32, 128, 512],
    "rates": [0.001, 0.003, 0.01, 0.03],
    "steps": 200,
    "seeds": [0, 1, 2],
}


def place(rank, alpha, lr):
    """Return the key of a run: "8 512 0.003"."""
    return f"{rank} {alpha} {lr:g}"


def entry(split, base, rank, alpha, lr, seeds, steps=200):
    """Return ``validation``, the first seed's share of validation digits, and ``test``, of test digits, one a seed."""
    runs = [retrain(split, rank, alpha=alpha, lr=lr, seed=seed, base=base, steps=steps) for seed in seeds]
    return {"validation": accuracy(runs[0].model, *split.validation), "test": [run.accuracy for run in runs]}


def main():
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "black_paper.json")
    out, split, base = parser.parse_args().out, digits.inverted(), load_digit_net()
    began, results = time.perf_counter(), {}
    for rank, alpha, lr in product(SETTINGS["ranks"], SETTINGS["alphas"], SETTINGS["rates"]):
        results[place(rank, alpha, lr)] = entry(split, base, rank, alpha, lr, SETTINGS["seeds"])
        print(place(rank, alpha, lr), results[place(rank, alpha, lr)], flush=True)
    seconds, unit = time.perf_counter() - began, "share of the digits read right"
    write_result(out, "black_paper", SETTINGS, results, seconds, unit=unit, flat=True)


if __name__ == "__main__":
    main()
