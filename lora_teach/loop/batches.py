"""Batches: endless, on the right device, and what a model's loss on one is."""

from collections.abc import Mapping

import torch


def endless(batches):
    """Yield batches for ever, starting over at each end."""
    seen = 0
    while True:
        before = seen
        for batch in batches:
            seen += 1
            yield batch
        if seen == before:
            cure = "Give a DataLoader or a list of batches"
            if seen:
                raise ValueError(f"the batches ran out after {seen} and cannot be iterated again. {cure}.")
            raise ValueError(f"there are no batches. {cure} with at least one.")


def to_device(batch, device):
    """Move every tensor of a batch (a tensor, or a mapping, tuple or list of batches) to ``device``."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):  # a namedtuple takes its fields one by one
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, tuple | list):
        return type(batch)(to_device(value, device) for value in batch)
    return batch


def loss_of(model, batch, loss_fn):
    """Return the loss of ``model`` on ``batch``, a pair (inputs, targets) or a mapping of the model's arguments."""
    if isinstance(batch, Mapping):
        output, targets = model(**batch), batch
    else:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
            raise TypeError(
                f"a batch is a {type(batch).__name__}{size}. Use (inputs, targets), or a mapping with the names of the "
                "model's arguments."
            )
        inputs, targets = batch
        output = model(inputs)
    if loss_fn is not None:
        return loss_fn(output, targets)
    if getattr(output, "loss", None) is None:
        raise ValueError("loss_fn is None and the model's output has no .loss. Give loss_fn(output, targets).")
    return output.loss
