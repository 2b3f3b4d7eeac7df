"""LoRA against full fine-tuning on one language, each at its own best.

Learning rate and checkpoint are chosen on validation names and the result is the loss on test names, so neither side
wins by a number that suited it. ``data/make_race.py`` runs it in full; the results lie in ``data/race.json``.
"""

from statistics import mean, stdev

from lora_teach.bases import evaluate
from lora_teach.datasets import names
from lora_teach.measure.tuning import contender, tune_best

FULL = None  # in the place of a rank: full fine-tuning
LEARNING_RATES = {"LoRA": (1e-3, 3e-3, 1e-2, 3e-2), "full": (1e-4, 3e-4, 1e-3, 3e-3)}


def label(rank):
    """Return what a contender is called: "LoRA r=4" or "full"."""
    return "full" if rank is FULL else f"LoRA r={rank}"


def race(base, language, ranks=(1, 4, 16, FULL), learning_rates=None, seeds=(0, 1, 2), **options):
    """Train every contender and return what came out.

    Args:
        base: A NameGPT, which stays as it is.
        language: The language that is new to it.
        ranks: Ranks of LoRA, and None for full fine-tuning.
        learning_rates: ``{"LoRA": rates, "full": rates}``; None means LEARNING_RATES. All are tried with the first
            seed; the one with the lowest validation loss runs with all seeds.
        seeds: Each decides LoRA's start and the batches.
        **options: The other options of ``tune``, such as ``steps``.

    Returns:
        ``{label: entry}``. An entry has ``trainable`` (number of parameters), ``lr`` (the chosen one), ``tried``
        (validation loss by learning rate), ``runs`` (one a seed: a Tuned's fields, and the loss on ``test`` names), and
        ``test``, the mean over the seeds, with ``spread``, the standard deviation. Losses are in nats a letter.
    """
    rates = learning_rates or LEARNING_RATES
    return {
        label(rank): enter(base, language, rank, rates["full" if rank is FULL else "LoRA"], seeds, **options)
        for rank in ranks
    }


def enter(base, language, rank, learning_rates, seeds, **options):
    """Let one contender run, and return its entry of ``race``."""
    tried, tuned = tune_best(lambda seed: contender(base, rank, seed), language, learning_rates, seeds, **options)
    test = [evaluate(model, names.load(language).test) for _, model in tuned]
    runs = [vars(run) | {"test": loss} for (run, _), loss in zip(tuned, test, strict=True)]
    return {
        "trainable": count_trainable(tuned[0][1]),
        "lr": tuned[0][0].lr,
        "tried": {str(lr): run.best_validation for lr, run in tried.items()},
        "runs": runs,
        "test": mean(test),
        "spread": stdev(test) if len(test) > 1 else 0.0,
    }


def count_trainable(model):
    """Return how many numbers training would move."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
