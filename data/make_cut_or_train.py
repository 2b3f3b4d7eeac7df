"""Run "Cut or train" in full: cut the tuned weights, cut the finished update, or train at rank r, over ranks.

    OMP_NUM_THREADS=1 python data/make_cut_or_train.py [--out data/cut_or_train.json]      about 10 minutes on one core

Learning rates and checkpoints are chosen on validation names; reported on test names, three seeds.
"""

import argparse
import time
from pathlib import Path

from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.results import write_result
from lora_teach.measure.truncate_update import cut_or_train

SETTINGS = {
    "language": "Zulu",
    "ranks": [1, 2, 4, 8, 16, 32, 64, 96],
    "learning_rates": {"LoRA": [1e-3, 3e-3, 1e-2, 3e-2], "full": [1e-4, 3e-4, 1e-3, 3e-3]},
    "seeds": [0, 1, 2],
    "steps": 400,
    "check_every": 20,
    "patience": 80,
    "batch_size": 32,
}


def main():
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "cut_or_train.json")
    out = parser.parse_args().out
    start, base = time.perf_counter(), load_name_gpt()
    results = {"base": evaluate(base, names.load(SETTINGS["language"]).test)}
    results |= cut_or_train(base, **SETTINGS)
    for line, losses in results["lines"].items():
        print(
            f"{line:12}", "  ".join(f"r{rank} {loss:.2f}" for rank, loss in zip(SETTINGS["ranks"], losses, strict=True))
        )
    write_result(out, "cut_or_train", SETTINGS, results, time.perf_counter() - start)


if __name__ == "__main__":
    main()
