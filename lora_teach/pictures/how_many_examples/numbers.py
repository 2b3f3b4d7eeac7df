"""Train on so many examples of a file, and count what is right of what was held out."""

from lora_teach.loop.schedules import schedule_for
from lora_teach.measure.grading import grade
from lora_teach.measure.tuning import trainable_copy
from lora_teach.training import train
from lora_teach.utils.threads import one_thread

import torch


def distinct(examples, prompt_of):
    """Return the first example of each prompt, in their order."""
    found = {}
    for example in examples:
        found.setdefault(prompt_of(example), example)
    return list(found.values())


def drawn(examples, count, seed):
    """Return so many of the examples; a larger draw with the same seed has all those of a smaller one, and more."""
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed)).tolist()
    return [examples[index] for index in order[:count]]


def answers_after(base, train_on, ask, *, rank, lr, steps, batch_size, seed):
    """Return `grade`'s answers to ``ask`` of an adapter that was trained on ``train_on``; ``base`` stays as it is.

    The learning rate ``lr`` falls evenly to zero. ``seed`` decides A's start and the batches.
    """
    with one_thread():
        model = trainable_copy(base.model, rank, seed)
        batches = base.batches(train_on, batch_size, seed)
        train(
            model,
            batches,
            base.loss_fn,
            lr=lr,
            steps=steps,
            schedule=schedule_for("linear", steps, 0),
            seed=seed,
            progress=False,
        )
        return grade(base, model, ask)
