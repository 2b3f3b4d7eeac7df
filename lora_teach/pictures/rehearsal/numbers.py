"""Train on new names with some of the base's own among them, so that it keeps what it knew."""

from itertools import cycle, islice

from lora_teach.bases import name_loss
from lora_teach.datasets import names
from lora_teach.measure.tuning import trainable_copy
from lora_teach.pictures.new_data.numbers import losses_of
from lora_teach.training import train
from lora_teach.utils.threads import one_thread

import torch


def mixed_batches(new, old, share, steps, batch_size=32, seed=0):
    """Return batches in which ``share`` of the names are old ones, in a random order.

    As many new names are seen as in ``steps`` batches of new names alone, so there are ``steps / (1 - share)`` batches.

    Args:
        new: Names, gone through again and again.
        old: Names to draw from.
        share: Of old names among all, 0 up to, but not including, 1.
        steps: Batches of new names alone.
        batch_size: Names in a batch.
        seed: Decides which old names are drawn, and the order.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share={share} of old names leaves no place for new ones. Use 0 up to, but not including, 1.")
    draw = torch.Generator().manual_seed(seed)
    seen = steps * batch_size
    rehearsed = round(seen * share / (1 - share))
    shuffled = [new[index] for index in torch.randperm(len(new), generator=draw).tolist()]
    drawn = torch.randint(len(old), (rehearsed,), generator=draw).tolist()
    every = [*islice(cycle(shuffled), seen), *(old[index] for index in drawn)]
    order = torch.randperm(len(every), generator=draw).tolist()
    return [
        names.encode([every[index] for index in order[start : start + batch_size]])
        for start in range(0, len(order), batch_size)
    ]


def rehearse(base, share, seed, settings):
    """Train a new adapter with this share of the base's own names and return `losses_of`.

    ``settings`` as for `lora_teach.pictures.new_data.numbers.go_on`; ``base`` stays as it is.
    """
    new, old = (names.load(settings[which]).train for which in ("new", "base"))
    batches = mixed_batches(new, old, share, settings["steps"], settings["batch_size"], seed)
    model = trainable_copy(base, settings["rank"], seed)
    with one_thread():
        train(model, batches, name_loss, lr=settings["lr"], steps=len(batches), seed=seed, progress=False)
        return losses_of(model, settings)
