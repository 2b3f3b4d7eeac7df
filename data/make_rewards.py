"""Let NameGPT learn from a judge's reward: LoRA at rank 1 and 8 and full fine-tuning, with and without a KL penalty.

    OMP_NUM_THREADS=1 python data/make_rewards.py       about 7 minutes of one core; fills data/rewards.json

Each contender tries several learning rates with a seed that is not reported, without a penalty, and takes the one with
the highest success where its divergence from the base reaches ``matched`` nats a name. Three more seeds run at that
rate, with each weight of the penalty, and as many learn from real Finnish names instead, at the Race's rates.
"""

import argparse
import time
from pathlib import Path

from lora_teach.bases import load_name_gpt
from lora_teach.measure.results import load_result, write_result
from lora_teach.measure.rewarding import LANGUAGE, looked_at, run_path, sounds, supervised_path, where
from lora_teach.measure.tuning import FULL, best_learning_rate, label

SETTINGS = {
    "ranks": [1, 8, FULL],
    "learning_rates": {"LoRA": [3e-3, 1e-2, 3e-2], "full": [1e-4, 3e-4, 1e-3, 3e-3]},
    "rate_seed": 0,
    "seeds": [1, 2, 3],
    "kl_weights": [0.0, 0.1],
    "updates": 60,
    "names": 64,
    "every": 5,
    "matched": 4.0,
    "supervised": {"ranks": [1, FULL], "steps": 60},
}


def chosen_rate(base, rank, settings):
    """Return the learning rate with the highest success at the matched divergence, and ``{lr: success}``."""
    options = {"updates": settings["updates"], "count": settings["names"], "every": settings["every"]}

    def shortfall(lr):
        path = run_path(base, rank, lr=lr, seed=settings["rate_seed"], real=False, **options)
        success = where(path, "kl", settings["matched"], "success")
        return 1 - (success or 0.0)  # one that never gets there is not taken

    rates = settings["learning_rates"]["full" if rank is FULL else "LoRA"]
    best, tried = best_learning_rate(shortfall, rates)
    return best, {str(lr): 1 - one for lr, one in tried.items()}


def contender(base, rank, settings):
    """Return one contender's entry: its rate, those tried, and the paths by weight of the penalty."""
    lr, tried = chosen_rate(base, rank, settings)
    options = {"updates": settings["updates"], "count": settings["names"], "every": settings["every"]}
    runs = {
        str(weight): [run_path(base, rank, lr=lr, kl=weight, seed=seed, **options) for seed in settings["seeds"]]
        for weight in settings["kl_weights"]
    }
    print(label(rank), lr, tried, [run["success"][-1] for several in runs.values() for run in several], flush=True)
    return {"lr": lr, "tried": tried, "runs": runs}


def supervised(base, settings):
    """Return the paths of learning from names, by contender, at the rates that the Race chose."""
    race, found = load_result("race")["results"][LANGUAGE]["contenders"], {}
    for rank in settings["supervised"]["ranks"]:
        lr, steps = race[label(rank)]["lr"], settings["supervised"]["steps"]
        found[label(rank)] = [
            supervised_path(base, rank, lr=lr, steps=steps, seed=seed, every=settings["every"])
            for seed in settings["seeds"]
        ]
    return found


def run_all(settings):
    """Run everything and return the results."""
    base = load_name_gpt()
    return {
        "base": looked_at(base, base, sounds()),
        "contenders": {label(rank): contender(base, rank, settings) for rank in settings["ranks"]},
        "supervised": supervised(base, settings),
    }


def main():
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "rewards.json")
    out, start = parser.parse_args().out, time.process_time()
    results = run_all(SETTINGS)
    unit = "nats a name (kl), nats a letter (language, English), shares (success, distinct)"
    write_result(out, "rewards", SETTINGS, results, time.process_time() - start, unit, flat=True)


if __name__ == "__main__":
    main()
