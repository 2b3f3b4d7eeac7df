"""Run "how much does rank buy" in full: test accuracy by rank on digits that were turned, and on inverted ones.

    OMP_NUM_THREADS=1 python data/make_ranks.py [--out data/ranks.json]      about 3 minutes on one core

Two alphas, each with learning rates of its own. The rate is chosen on validation digits; reported on test digits, five
seeds.
"""

import argparse
import time
from pathlib import Path
from statistics import mean, stdev

from lora_teach.bases import accuracy, load_digit_net
from lora_teach.datasets import digits
from lora_teach.measure.results import write_result
from lora_teach.measure.retraining import retrain
from lora_teach.measure.tuning import FULL, best_learning_rate

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


def rank_entry(split, rank, learning_rates, seeds, trials=2, **options):
    """Find the learning rate that suits one rank, run it with every seed, and return what came out.

    Args:
        split: A `lora_teach.datasets.digits.Digits`.
        rank: LoRA's; None for full fine-tuning.
        learning_rates: All are tried, with the first seeds.
        seeds: Each decides LoRA's start and the batches.
        trials: How many of the seeds try all rates.
        **options: The other options of `retrain`, such as ``steps`` and ``alpha``.

    Returns:
        ``lr`` (the chosen one), ``tried`` (mean accuracy on validation digits by learning rate), ``test`` (accuracy on
        test digits, one a seed), their ``mean`` and ``spread``, the standard deviation. Accuracies are from 0 to 1.
    """
    first = {}

    def validation_loss(lr):
        first[lr] = [retrain(split, rank, lr=lr, seed=seed, **options) for seed in seeds[:trials]]
        return -mean(accuracy(run.model, *split.validation) for run in first[lr])

    best, tried = best_learning_rate(validation_loss, learning_rates)
    more = [retrain(split, rank, lr=best, seed=seed, **options) for seed in seeds[trials:]]
    test = [run.accuracy for run in [*first[best], *more]]
    spread = stdev(test) if len(test) > 1 else 0.0
    by_rate = {str(lr): -loss for lr, loss in tried.items()}
    return {"lr": best, "tried": by_rate, "test": test, "mean": mean(test), "spread": spread}


def rank_results(splits, ranks, alphas, full, seeds, *, steps=400):
    """Yield ``(task, alpha, rank, result)``, task after task.

    First, with alpha and rank None, comes the base's accuracy; with alpha "full" full fine-tuning's entry; then LoRA's.

    Args:
        splits: ``{task: Digits}``.
        ranks: LoRA's, under the rule α/r.
        alphas: ``{alpha: the learning rates that are tried with it}``.
        full: The learning rates that full fine-tuning tries.
        seeds: As for `rank_entry`.
        steps: Length of a run.
    """
    base = load_digit_net()
    for task, split in splits.items():
        yield task, None, None, accuracy(base, *split.test)
        yield task, "full", None, rank_entry(split, FULL, full, seeds, steps=steps, base=base)
        for alpha, rates in alphas.items():
            for rank in ranks:
                yield task, alpha, rank, rank_entry(split, rank, rates, seeds, steps=steps, base=base, alpha=alpha)


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
