"""Run "Turn it down" in full: the loss on Zulu and on English while a finished fine-tuning is scaled from 0 to 1.5.

    OMP_NUM_THREADS=1 python data/make_turn_it_down.py [--out data/turn_it_down.json]      about 3 minutes on one core

For LoRA at rank 4 and for full fine-tuning, at the learning rates that the Race chose (data/race.json), three seeds.
"""

import argparse
import time
from pathlib import Path

from lora_teach.bases import load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.results import load_result, write_result
from lora_teach.measure.strength import strength_path
from lora_teach.measure.tuning import FULL, label, trainable_copy, tune

SETTINGS = {
    "language": "Zulu",
    "ranks": [4, FULL],
    "strengths": [step / 8 for step in range(13)],
    "seeds": [0, 1, 2],
    "steps": 400,
    "check_every": 20,
    "batch_size": 32,
}


def make(settings, chosen_lr):
    """Return ``{label: {"lr": …, "paths": one [(new loss, English loss), …] a seed}}``.

    Args:
        settings: As SETTINGS.
        chosen_lr: ``{label: learning rate}``.
    """
    base, new = load_name_gpt(), names.load(settings["language"]).test
    old = names.load("English").test
    options = {key: settings[key] for key in ("steps", "check_every", "batch_size")}
    results = {}
    for rank in settings["ranks"]:
        lr, paths = chosen_lr[label(rank)], []
        for seed in settings["seeds"]:
            model = trainable_copy(base, rank, seed)
            tune(model, settings["language"], lr=lr, seed=seed, **options)
            paths.append(strength_path(model, settings["strengths"], new, old, base))
        results[label(rank)] = {"lr": lr, "paths": paths}
    return results


def main():
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "turn_it_down.json")
    out = parser.parse_args().out
    start = time.perf_counter()
    entries = load_result("race")["results"][SETTINGS["language"]]["contenders"]
    results = make(SETTINGS, {name: entry["lr"] for name, entry in entries.items()})
    for name, entry in results.items():
        for strength, pair in zip(SETTINGS["strengths"], entry["paths"][0], strict=True):
            print(f"{name:10} ×{strength:<6} {SETTINGS['language']} {pair[0]:.2f}  English {pair[1]:.2f}")
    write_result(out, "turn_it_down", SETTINGS, results, time.perf_counter() - start)


if __name__ == "__main__":
    main()
