"""Run "how much does rank buy" in full: test accuracy by rank on digits that were turned, and on inverted ones.

    OMP_NUM_THREADS=1 python data/make_ranks.py [--out data/ranks.json]      about 3 minutes on one core

Two alphas, each with learning rates of its own. The rate is chosen on validation digits; reported on test digits, five
seeds.
"""

import argparse
import time
from pathlib import Path

from lora_teach.datasets import digits
from lora_teach.measure.results import write_result
from lora_teach.pictures.ranks.numbers import rank_results

TASKS = {
    "turned by 30°": lambda: digits.rotated(30),
    "turned by 90°": lambda: digits.rotated(90),
    "inverted": digits.inverted,
}
SETTINGS = {
    "ranks": [1, 2, 4, 8, 16, 64],
    "alphas": {8: [1e-3, 3e-3, 1e-2, 3e-2], 512: [3e-4, 1e-3, 3e-3, 1e-2]},
    "full": [1e-3, 3e-3, 1e-2, 3e-2],
    "seeds": [0, 1, 2, 3, 4],
    "steps": 400,
}


def main():
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "ranks.json")
    out = parser.parse_args().out
    start, results = time.perf_counter(), {}
    for task, alpha, rank, result in rank_results({task: make() for task, make in TASKS.items()}, **SETTINGS):
        if alpha is None:
            results[task] = {"base": result, "LoRA": {}}
            continue
        if alpha == "full":
            results[task]["full"] = result
        else:
            results[task]["LoRA"].setdefault(str(alpha), {})[str(rank)] = result
        what = "full" if rank is None else f"α = {alpha}, rank {rank}"
        print(f"{task:14} {what:17} lr {result['lr']:<6g} {result['mean']:.3f} ± {result['spread']:.3f}", flush=True)
    seconds = time.perf_counter() - start
    write_result(out, "ranks", SETTINGS, results, seconds, unit="share of the test digits read right")


if __name__ == "__main__":
    main()
