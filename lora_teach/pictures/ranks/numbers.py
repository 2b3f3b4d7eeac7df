"""How much does rank buy? Test accuracy by rank on changed digits, each rank at its own best learning rate.

The learning rate is chosen on validation digits; the test digits are for the report alone.
``data/make_ranks.py`` runs it in full; the results lie in ``data/ranks.json``.
"""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from lora_teach.bases import accuracy, load_digit_net
from lora_teach.measure.race import FULL
from lora_teach.measure.results import load_result
from lora_teach.measure.retraining import retrain


def rank_entry(split, rank, learning_rates, seeds, trials=2, **options) -> dict:
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
    tried, reached = {}, {}
    for lr in learning_rates:
        runs = [retrain(split, rank, lr=lr, seed=seed, **options) for seed in seeds[:trials]]
        tried[lr] = mean(accuracy(run.model, *split.validation) for run in runs)
        reached[lr] = [run.accuracy for run in runs]
    best = max(tried, key=tried.get)
    more = [retrain(split, rank, lr=best, seed=seed, **options).accuracy for seed in seeds[trials:]]
    test = [*reached[best], *more]
    spread = stdev(test) if len(test) > 1 else 0.0
    by_rate = {str(lr): validation for lr, validation in tried.items()}
    return {"lr": best, "tried": by_rate, "test": test, "mean": mean(test), "spread": spread}


def shares(base: float, full: float, reached: Sequence[float]) -> list[float]:
    """Return how much of full fine-tuning's gain over the base each result has: 0 is the base, 1 is full's.

    Works for accuracies, which rise, and for losses, which fall.

    >>> shares(base=0.2, full=0.8, reached=[0.5, 0.8])
    [0.5, 1.0]
    >>> shares(base=3.0, full=2.0, reached=[2.5])
    [0.5]
    """
    return [round((one - base) / (full - base), 9) for one in reached]


def rank_results(splits: Mapping, ranks: Sequence[int], alphas: Mapping, full: Sequence, seeds, *, steps=400):
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


def gain_lines() -> dict[str, dict[int, list[float]]]:
    """Return what ``data/ranks.json`` and, for Zulu names, ``data/cut_or_train.json`` hold, as `shares`.

    ``{task: {rank: [share, one a seed]}}``: losses and accuracies on one scale.
    """
    names = load_result("cut_or_train")
    base, full, seeds = (names["results"][key] for key in ("base", "full", "by_seed"))
    by_rank = zip(names["settings"]["ranks"], *(one["trained"] for one in seeds), strict=True)
    lines = {f"{names['settings']['language']} names": {rank: shares(base, full, losses) for rank, *losses in by_rank}}
    results = load_result("ranks")["results"]
    for task, alpha in (("turned by 30°", 8), ("turned by 90°", 8), ("inverted", 512), ("inverted", 8)):
        base, full, entries = (results[task][key] for key in ("base", "full", "LoRA"))
        lines[f"{task}, α = {alpha}"] = {
            int(rank): shares(base, full["mean"], entry["test"]) for rank, entry in entries[str(alpha)].items()
        }
    return lines
