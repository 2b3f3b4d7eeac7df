"""Train what Angle shows before anybody moves a slider: three tasks, three ranks and full fine-tuning, three seeds.

OMP_NUM_THREADS=1 python data/make_angle.py [--out data/angle.json]      about half a minute on one core
"""

import argparse
import time
from pathlib import Path

from lora_teach.measure.results import write_result
from lora_teach.measure.retraining import LR
from lora_teach.pictures.angle.numbers import ALPHA, BLOCK, FULL_LR, RANKS, TASKS, task_results

SETTINGS = {
    "tasks": {title: [angle, paper, list(lengths)] for title, (angle, paper, lengths) in TASKS.items()},
    "ranks": list(RANKS),
    "alpha": ALPHA,
    "lr": {"LoRA": LR, "full": FULL_LR},
    "block": BLOCK,
    "seeds": [0, 1, 2],
}


def main():
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "angle.json")
    out = parser.parse_args().out
    start, results = time.perf_counter(), {}
    for title, task in SETTINGS["tasks"].items():
        results[title] = task_results(*task, SETTINGS["seeds"], SETTINGS["ranks"])
        for name, entry in results[title]["contenders"].items():
            print(f"{title:15} {name:5} {entry['accuracies']}", flush=True)
    seconds = time.perf_counter() - start
    write_result(out, "angle", SETTINGS, results, seconds, unit="share of the test digits read right", flat=True)


if __name__ == "__main__":
    main()
