"""Batches: endless, on the right device, and what a model's loss on one is."""

from collections.abc import Mapping

from lora_teach.loop.words import said

import torch

PLAIN = bool | int | float | str | None  # what a batch may hold besides tensors, the same for all of its rows


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

    def moved(tensor):
        tensor = tensor.to(device, non_blocking=True)
        return tensor.clone() if tensor.is_inference() else tensor  # made so, it could not be learnt from

    return map_tensors(batch, moved)


def map_tensors(batch, change):
    """Return the same batch with ``change(tensor)`` in the place of every tensor."""
    if isinstance(batch, torch.Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {key: map_tensors(value, change) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):  # a namedtuple takes its fields one by one
        return type(batch)(*(map_tensors(value, change) for value in batch))
    if isinstance(batch, tuple | list):
        return type(batch)(map_tensors(value, change) for value in batch)
    return batch


def leaves(batch, place=()):
    """Yield ``(place, value)`` of all that a batch holds, its tensors and what else there is."""
    if isinstance(batch, Mapping | tuple | list):
        for key, value in batch.items() if isinstance(batch, Mapping) else enumerate(batch):
            yield from leaves(value, (*place, key))
    else:
        yield place, batch


def loss_of(model, batch, loss_fn=None, *, to_learn=True):
    """Return the loss of ``model`` on ``batch``, a pair (inputs, targets) or a mapping of the model's arguments.

    With ``to_learn`` a loss that carries no gradient is a ValueError.
    """
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
        return _checked(loss_fn(output, targets), "loss_fn", to_learn)
    if getattr(output, "loss", None) is None:
        raise ValueError("loss_fn is None and the model's output has no .loss. Give loss_fn(output, targets).")
    return _checked(output.loss, "the model's .loss", to_learn)


def _checked(loss, whose, to_learn):
    """Return the loss as a tensor of no dimension, if it is one number, and carries a gradient where it must."""
    cure = f"{whose} must return one number, as a tensor"
    if not isinstance(loss, torch.Tensor):
        raise TypeError(f"{whose} gives a {type(loss).__name__}. {cure} that torch computed, without .item().")
    if loss.numel() != 1:
        raise ValueError(
            f"{whose} gives a tensor of shape {tuple(loss.shape)}. {cure}: use reduction='mean' or .mean()."
        )
    if loss.is_complex():
        raise TypeError(f"{whose} gives a complex number, which can't be made smaller. {cure}: use its .abs().")
    if to_learn and not loss.requires_grad:
        raise ValueError(said("no_gradient_reaches_adapter", whose=whose))
    return loss.reshape(())
