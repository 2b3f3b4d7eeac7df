"""Does it help if more than A and B trains? A scaling that is learned, or the biases, beside LoRA of rank 8 on digits.

    OMP_NUM_THREADS=1 python data/make_beside.py [--out data/beside.json]      2 minutes on one core

Full fine-tuning runs with all parameters, and with its biases frozen. The learning rate is chosen on validation digits;
reported on test digits, three seeds.
"""

import argparse
import time
from pathlib import Path
from statistics import mean, stdev

from lora_teach.bases import accuracy, load_digit_net
from lora_teach.datasets import digits
from lora_teach.measure.results import write_result
from lora_teach.measure.retraining import HIDDEN, train_digits
from lora_teach.measure.tuning import best_learning_rate, trainable_copy

TASKS = {
    "turned by 30°": lambda: digits.rotated(30),
    "turned by 90°": lambda: digits.rotated(90),
    "inverted": digits.inverted,
}
LORA, SCALING, BIASES = "A and B", "A, B and the scaling", "A, B and the biases"
FULL, WEIGHTS = "full", "full, biases frozen"
SETTINGS = {
    "contenders": [LORA, SCALING, BIASES, FULL, WEIGHTS],
    "rank": 8,
    "alpha": 8,
    "learning_rates": [1e-3, 3e-3, 1e-2, 3e-2],
    "seeds": [0, 1, 2],
    "steps": 400,
}


def ready(base, contender, seed, rank=8, alpha=8):
    """Return a copy of ``base`` in which what the contender trains requires gradients, and nothing else."""
    if contender in (FULL, WEIGHTS):
        model = trainable_copy(base)
        network = model
    else:
        learned = contender == SCALING
        model = trainable_copy(base, rank, seed, alpha=alpha, target_modules=HIDDEN, learnable_scaling=learned)
        network = model.base_model
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            parameter.requires_grad_(contender in (FULL, BIASES))
    return model


def contender_entry(base, split, contender, learning_rates, seeds, *, steps=400, **options):
    """Find the learning rate that suits one contender and return what it comes to.

    Args:
        base: A DigitNet, which stays as it is.
        split: A `lora_teach.datasets.digits.Digits`.
        contender: One of SETTINGS["contenders"].
        learning_rates: All are tried with every seed; the best on validation digits is reported.
        seeds: Each decides LoRA's start and the batches.
        steps: Length of a run.
        **options: ``rank`` and ``alpha``.

    Returns:
        ``lr`` (the chosen one), ``tried`` (mean accuracy on validation digits by learning rate), ``test`` (accuracy on
        test digits, one a seed), their ``mean`` and ``spread``, the standard deviation; with the scaling ``scalings``,
        what the two layers' became, one pair a seed. Accuracies are from 0 to 1.
    """
    runs = {}

    def validation_loss(lr):
        runs[lr] = [
            train_digits(ready(base, contender, seed, **options), split, steps=steps, seed=seed, lr=lr)
            for seed in seeds
        ]
        return -mean(accuracy(run.model, *split.validation) for run in runs[lr])

    best, tried = best_learning_rate(validation_loss, learning_rates)
    test = [run.accuracy for run in runs[best]]
    spread = stdev(test) if len(test) > 1 else 0.0
    entry = {"lr": best, "tried": {str(lr): -loss for lr, loss in tried.items()}}
    entry |= {"test": test, "mean": mean(test), "spread": spread}
    if contender == SCALING:
        entry["scalings"] = [[one.scaling.item() for one in run.model.lora_layers.values()] for run in runs[best]]
    return entry


def main():
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "beside.json")
    out = parser.parse_args().out
    start, base, results = time.perf_counter(), load_digit_net(), {}
    options = {name: value for name, value in SETTINGS.items() if name != "contenders"}
    for task, make in TASKS.items():
        split = make()
        results[task] = {}
        for contender in SETTINGS["contenders"]:
            entry = results[task][contender] = contender_entry(base, split, contender, **options)
            print(
                f"{task:14} {contender:21} lr {entry['lr']:<6g} {entry['mean']:.3f} ± {entry['spread']:.3f}", flush=True
            )
    seconds = time.perf_counter() - start
    write_result(out, "beside", SETTINGS, results, seconds, unit="share of the test digits read right", flat=True)


if __name__ == "__main__":
    main()
