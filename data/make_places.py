"""Where to adapt: attention, the MLP, or every linear layer of NameGPT's blocks, with equally many numbers.

    OMP_NUM_THREADS=1 python data/make_places.py [--out data/places.json]      13 minutes on one busy core

On Icelandic names, where rank counts. Learning rate and checkpoint are chosen on validation names, for each place its
own; reported on test names, three seeds.
"""

import argparse
import time
from pathlib import Path
from statistics import mean, stdev

from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.results import write_result
from lora_teach.measure.tuning import count_trainable, trainable_copy, tune_best

ATTENTION, MLP = ["q_proj", "k_proj", "v_proj", "o_proj"], ["up_proj", "down_proj"]
SETTINGS = {
    "language": "Icelandic",
    "places": {"attention": [ATTENTION, 9], "MLP": [MLP, 7], "all linear": [[*ATTENTION, *MLP], 4]},
    "learning_rates": [1e-3, 3e-3, 1e-2, 3e-2],
    "seeds": [0, 1, 2],
    "steps": 600,
    "check_every": 20,
    "patience": 80,
    "batch_size": 32,
}


def place_entry(base, language, targets, rank, learning_rates, seeds, **options):
    """Train LoRA of this rank on these layers and return what came out.

    Args:
        base: A NameGPT, which stays as it is.
        language: One of ``names.languages()``.
        targets: Names of the layers, as ``target_modules`` takes them.
        rank: LoRA's.
        learning_rates: All are tried with the first seed; the best on validation names runs with all seeds.
        seeds: Each decides LoRA's start and the batches.
        **options: The other options of ``tune_best``, such as ``steps``.

    Returns:
        ``rank``, ``trainable`` (number of parameters), ``lr`` (the chosen one), ``tried`` (validation loss by learning
        rate), ``best_steps`` and ``test`` (the loss on test names), one a seed, ``mean`` and ``spread``, the standard
        deviation. Losses are in nats a letter.
    """

    def make(seed):
        return trainable_copy(base, rank, seed, target_modules=targets)

    tried, tuned = tune_best(make, language, learning_rates, seeds, **options)
    test = [evaluate(model, names.load(language).test) for _, model in tuned]
    return {
        "rank": rank,
        "trainable": count_trainable(tuned[0][1]),
        "lr": tuned[0][0].lr,
        "tried": {str(lr): loss for lr, loss in tried.items()},
        "best_steps": [run.best_step for run, _ in tuned],
        "test": test,
        "mean": mean(test),
        "spread": stdev(test) if len(test) > 1 else 0.0,
    }


def main():
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "places.json")
    out = parser.parse_args().out
    start, base, results = time.perf_counter(), load_name_gpt(), {}
    options = {name: value for name, value in SETTINGS.items() if name != "places"}
    for place, (targets, rank) in SETTINGS["places"].items():
        entry = results[place] = place_entry(base, targets=targets, rank=rank, **options)
        print(f"{place:10} r = {rank} lr {entry['lr']:<6g} {entry['mean']:.3f} ± {entry['spread']:.3f}", flush=True)
    write_result(out, "places", SETTINGS, results, time.perf_counter() - start, flat=True)


if __name__ == "__main__":
    main()
