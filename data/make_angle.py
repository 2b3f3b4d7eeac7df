"""Train what Angle shows before anybody moves a slider: three tasks, three ranks and full fine-tuning, three seeds.

OMP_NUM_THREADS=1 python data/make_angle.py [--out data/angle.json]      about half a minute on one core
"""

import argparse
import time
from pathlib import Path
from statistics import mean

from lora_teach.bases import accuracy, load_digit_net
from lora_teach.measure.results import write_result
from lora_teach.measure.retraining import LR, STEPS
from lora_teach.measure.tuning import FULL
from lora_teach.pictures.angle.numbers import ALPHA, FULL_LR, changed, retrain_at

RANKS = (1, 4, 16)  # of the tasks side by side
BLOCK = 10  # steps whose mean loss is kept
TASKS = {  # angle, paper, and lengths of the runs
    "Turned by 30°": (30, "white", (STEPS,)),
    "Turned by 90°": (90, "white", (STEPS,)),
    "On black paper": (0, "black", (STEPS, 5 * STEPS)),
}
SETTINGS = {
    "tasks": {title: [angle, paper, list(lengths)] for title, (angle, paper, lengths) in TASKS.items()},
    "ranks": list(RANKS),
    "alpha": ALPHA,
    "lr": {"LoRA": LR, "full": FULL_LR},
    "block": BLOCK,
    "seeds": [0, 1, 2],
}


def task_results(angle, paper, lengths, seeds, ranks=RANKS):
    """Train every rank and full fine-tuning on one task and return what came out.

    Args:
        angle: Of the digits, in degrees.
        paper: "white" or "black".
        lengths: Of the runs, in steps, the longest last.
        seeds: One run each.
        ranks: LoRA's.

    Returns:
        ``base``, the share of test digits that the base reads; and by contender (a rank as text, or "full")
        ``accuracies``, by length, one a seed, and ``losses``, the mean over the seeds of the longest run's loss, over
        each BLOCK of steps, in nats a digit.
    """
    split, base = changed(angle, paper), load_digit_net()
    contenders = {}
    for rank in (*ranks, FULL):
        runs = [[retrain_at(split, rank, steps=steps, seed=seed, base=base) for seed in seeds] for steps in lengths]
        blocks = range(0, lengths[-1], BLOCK)
        contenders["full" if rank is FULL else str(rank)] = {
            "accuracies": [[run.accuracy for run in same] for same in runs],
            "losses": [mean(mean(run.loss[start : start + BLOCK]) for run in runs[-1]) for start in blocks],
        }
    return {"base": accuracy(base, *split.test), "contenders": contenders}


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
