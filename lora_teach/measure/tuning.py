"""Fine-tune NameGPT on one language the fair way: how long to train is decided on validation names, not by habit.

A fixed number of steps flatters LoRA on small data, because full fine-tuning overfits sooner.
"""

import copy
from dataclasses import dataclass, field

import torch

from lora_teach.bases import evaluate, name_loss
from lora_teach.datasets import names
from lora_teach.model import LoRAModel
from lora_teach.training import training_steps


@dataclass
class Tuned:
    """How one run went; losses in nats a letter. Its model is at the checkpoint ``best_step``."""

    lr: float
    seed: int
    steps: list = field(default_factory=list)  # where it was looked at the validation names, from 0
    validation: list = field(default_factory=list)  # the loss on them at these steps
    best_step: int = 0
    best_validation: float = float("inf")


def contender(base, rank=None, seed=0, **options):
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
    model = copy.deepcopy(base).requires_grad_(True)
    if rank is None:
        return model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LoRAModel(model, rank=rank, **options)


def tune(model, language, *, lr, steps=400, check_every=20, patience=None, batch_size=32, seed=0, watch=None):
    """Train ``model`` in place on a language's training names and leave it at its best checkpoint.

    Args:
        model: From ``contender``.
        language: One of ``names.languages()``.
        lr: Learning rate of AdamW, constant.
        steps: Updates; ``check_every`` of them lie between two looks at the validation names.
        patience: Stop early when the validation loss was not lowered for this many steps; None runs to the end.
        batch_size: Names in a batch.
        seed: Decides the batches.
        watch: Called as ``watch(step, model)`` at each look, the start included.

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
    for step in training_steps(model, batches, name_loss, lr=lr, steps=steps, seed=seed):
        if step.index % check_every == 0 or step.index == steps:
            look(step.index)
            if patience is not None and step.index - run.best_step >= patience:
                break
    with torch.no_grad():
        for parameter, value in zip(trained, best, strict=True):
            parameter.copy_(value)
    return run


def tune_best(make, language, learning_rates, seeds, *, patience=None, **options):
    """Find the learning rate that suits best, then tune with it once a seed.

    Args:
        make: ``make(seed)`` gives a fresh model that is ready to be trained, such as ``contender``'s.
        language: As for ``tune``.
        learning_rates: Each is tried with the first seed; the one with the lowest validation loss is taken.
        seeds: One run each, of full length, so that the curves show what comes after the best checkpoint too.
        patience: As for ``tune``, but for the trials alone.
        **options: The other options of ``tune``.

    Returns:
        ``(tried, tuned)``: ``{learning rate: its Tuned}`` of the trials, and ``[(Tuned, model), …]``, one a seed.
    """
    options["language"] = language
    tried = {lr: tune(make(seeds[0]), lr=lr, seed=seeds[0], patience=patience, **options) for lr in learning_rates}
    best = min(tried, key=lambda lr: tried[lr].best_validation)
    models = [make(seed) for seed in seeds]
    tuned = [(tune(model, lr=best, seed=seed, **options), model) for seed, model in zip(seeds, models, strict=True)]
    return tried, tuned
