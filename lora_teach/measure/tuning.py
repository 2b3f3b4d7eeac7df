"""Compare fine-tunings fairly: learning rate and number of steps are chosen on validation names, not by habit.

A fixed number of steps flatters LoRA on small data, because full fine-tuning overfits sooner.
"""

from dataclasses import dataclass, field

from lora_teach.bases import evaluate, name_loss
from lora_teach.datasets import names
from lora_teach.model import LoRAModel
from lora_teach.overlay.base import plain_copy
from lora_teach.training import training_steps

import torch

FULL = None  # in the place of a rank: full fine-tuning


@dataclass
class Tuned:
    """How one run went; losses in nats a letter. Its model is at the checkpoint ``best_step``."""

    lr: float
    seed: int
    steps: list = field(default_factory=list)  # where it was looked at the validation names, from 0
    validation: list = field(default_factory=list)  # the loss on them at these steps
    best_step: int = 0
    best_validation: float = float("inf")


def label(rank):
    """Return what a contender is called: "LoRA r=4" or "full"."""
    return "full" if rank is FULL else f"LoRA r={rank}"


def count_trainable(model):
    """Return how many numbers training would move."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def trainable_copy(base, rank=None, seed=0, **options):
    """Return a copy of ``base`` that is ready to be trained; ``base`` itself is not touched.

    Args:
        base: Any model, such as a NameGPT or a DigitNet.
        rank: Rank of LoRA; None means full fine-tuning, where everything trains.
        seed: Decides LoRA's start; the global random state is left as it was.
        **options: LoRAConfig's; by default every linear layer is adapted (of a NameGPT, those of its blocks).

    Raises:
        TypeError: Options of LoRA for full fine-tuning.
    """
    if rank is None and options:
        raise TypeError(f"full fine-tuning (rank=None) has no {', '.join(options)}. Leave it out, or give a rank.")
    model = plain_copy(base)  # trainable, but for packed weights
    if rank is None:
        return model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LoRAModel(model, rank=rank, **options)


def tune(
    model,
    language,
    *,
    lr,
    steps=400,
    check_every=20,
    patience=None,
    batch_size=32,
    seed=0,
    watch=None,
    optimizer=None,
):
    """Train ``model`` in place on a language's training names and leave it at its best checkpoint.

    Args:
        model: From ``trainable_copy``.
        language: One of ``names.languages()``.
        lr: Learning rate of AdamW, constant.
        steps: Updates; ``check_every`` of them lie between two looks at the validation names.
        patience: Stop early when the validation loss was not lowered for this many steps; None runs to the end.
        batch_size: Names in a batch.
        seed: Decides the batches.
        watch: Called as ``watch(step, model)`` at each look, the start included.
        optimizer: Your own in place of AdamW; ``lr`` is then only noted.

    Returns:
        A Tuned. The checkpoint is the one with the lowest loss on the validation names, the start included.
    """
    split = names.load(language)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    run = Tuned(lr, seed)
    best = []

    def look(step):
        loss = evaluate(model, split.validation)
        run.steps.append(step)
        run.validation.append(loss)
        if loss < run.best_validation:
            run.best_step, run.best_validation = step, loss
            best[:] = [parameter.detach().clone() for parameter in trained]
        if watch is not None:
            watch(step, model)

    look(0)
    batches = names.batches(split.train, batch_size, seed)
    settings = {"lr": lr, "steps": steps, "seed": seed, "optimizer": optimizer}
    for step in training_steps(model, batches, name_loss, **settings):
        if step.index % check_every == 0 or step.index == steps:
            look(step.index)
            if patience is not None and step.index - run.best_step >= patience:
                break
    with torch.no_grad():
        for parameter, value in zip(trained, best, strict=True):
            parameter.copy_(value)
    return run


def next_rate(tried, rates, start=None):
    """Return the learning rate to try next after ``{rate: validation loss}``, or None when the search has ended.

    From ``start`` it goes on outwards in the rising grid ``rates`` until the best has been tried between both its
    neighbours; without one it tries the whole grid.

    >>> next_rate({0.001: 2.0}, (0.001, 0.003, 0.01))
    0.003
    >>> next_rate({0.003: 2.0, 0.01: 2.1}, (0.001, 0.003, 0.01, 0.03), start=0.003)
    0.001
    >>> next_rate({0.003: 2.0, 0.01: 2.1, 0.001: 2.2}, (0.001, 0.003, 0.01, 0.03), start=0.003) is None
    True
    """
    if start is None:
        near = rates
    elif not tried:
        near = [start]
    else:
        at = list(rates).index(min(tried, key=tried.get))
        near = [rates[place] for place in (at + 1, at - 1) if 0 <= place < len(rates)]
    return next((rate for rate in near if rate not in tried), None)


def best_learning_rate(validation_loss, rates, start=None):
    """Try rates as `next_rate` has them; return the one with the lowest ``validation_loss``, and ``{lr: loss}``."""
    tried = {}
    while (lr := next_rate(tried, rates, start)) is not None:
        tried[lr] = validation_loss(lr)
    return min(tried, key=tried.get), tried


def tune_best(make, language, learning_rates, seeds, *, patience=None, **options):
    """Find the learning rate that suits best with the first seed, then tune with it once a seed, each in full length.

    ``make(seed)`` gives a model that is ready to be trained; ``patience`` is for the trials alone; options as `tune`.
    Returns ``({learning rate: validation loss}, [(Tuned, model), …])``.
    """

    def trial(lr):
        run = tune(make(seeds[0]), language, lr=lr, seed=seeds[0], patience=patience, **options)
        return run.best_validation

    best, tried = best_learning_rate(trial, learning_rates)
    models = [make(seed) for seed in seeds]
    runs = [tune(model, language, lr=best, seed=seed, **options) for seed, model in zip(seeds, models, strict=True)]
    return tried, list(zip(runs, models, strict=True))
