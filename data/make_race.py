"""Run the Race in full: LoRA at ranks 1, 4 and 16 against full fine-tuning, on three languages.

    OMP_NUM_THREADS=1 python data/make_race.py [--out data/race.json]          about 15 to 20 minutes on one core

Learning rate and checkpoint are chosen on validation names; reported on test names, three seeds.
"""

import argparse
import time
from pathlib import Path
from statistics import mean, stdev

from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.results import write_result
from lora_teach.measure.tuning import FULL, count_trainable, label, trainable_copy, tune_best

SETTINGS = {
    "ranks": [1, 4, 16, FULL],
    "learning_rates": {"LoRA": [1e-3, 3e-3, 1e-2, 3e-2], "full": [1e-4, 3e-4, 1e-3, 3e-3]},
    "seeds": [0, 1, 2],
    "check_every": 20,
    "patience": 80,
    "batch_size": 32,
}
STEPS = {"Finnish": 400, "Zulu": 400, "Icelandic": 800}


def enter(base, language, rank, learning_rates, seeds, **options):
    """Let one contender run on a language that is new to the base and return its entry.

    Args:
        base: A NameGPT, which stays as it is.
        language: One of ``names.languages()``.
        rank: LoRA's; FULL for full fine-tuning.
        learning_rates: All are tried with the first seed; the best on validation names runs with all seeds.
        seeds: Each decides LoRA's start and the batches.
        **options: The other options of ``tune_best``, such as ``steps``.

    Returns:
        ``trainable`` (number of parameters), ``lr`` (the chosen one), ``tried`` (validation loss by learning rate),
        ``runs`` (one a seed: a Tuned's fields, and the loss on ``test`` names), and ``test``, the mean over the seeds,
        with ``spread``, the standard deviation. Losses are in nats a letter.
    """
    tried, tuned = tune_best(lambda seed: trainable_copy(base, rank, seed), language, learning_rates, seeds, **options)
    test = [evaluate(model, names.load(language).test) for _, model in tuned]
    return {
        "trainable": count_trainable(tuned[0][1]),
        "lr": tuned[0][0].lr,
        "tried": {str(lr): loss for lr, loss in tried.items()},
        "runs": [vars(run) | {"test": loss} for (run, _), loss in zip(tuned, test, strict=True)],
        "test": mean(test),
        "spread": stdev(test) if len(test) > 1 else 0.0,
    }


def main():
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "race.json")
    out = parser.parse_args().out
    start, base, results = time.perf_counter(), load_name_gpt(), {}
    options = {key: SETTINGS[key] for key in ("seeds", "check_every", "patience", "batch_size")}
    for language, steps in STEPS.items():
        results[language] = {"base": evaluate(base, names.load(language).test), "contenders": {}}
        for rank in SETTINGS["ranks"]:
            name, rates = label(rank), SETTINGS["learning_rates"]["full" if rank is FULL else "LoRA"]
            entry = results[language]["contenders"][name] = enter(base, language, rank, rates, steps=steps, **options)
            best_steps = [run["best_step"] for run in entry["runs"]]
            print(f"{language:10} {name:10} lr {entry['lr']:<7} steps {best_steps}  ", end="")
            print(f"test {entry['test']:.3f} ± {entry['spread']:.3f}", flush=True)
    write_result(out, "race", SETTINGS | {"steps": STEPS}, results, time.perf_counter() - start)


if __name__ == "__main__":
    main()
