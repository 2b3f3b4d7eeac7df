"""Why a loss is nan or inf: the batch often tells."""

from collections.abc import Mapping

from lora_teach.loop.weights import ignored_by
from lora_teach.loop.words import WORDS, said

import torch

ADVICE = f"{WORDS['non_finite'].cure} The parameters are back where all was last finite."


def causes(batch=None, loss_fn=None, parameters=()):
    """Return in words why a loss is not finite, as far as the batch and the parameters, as restored, tell."""
    inputs, labels = _parts(batch)
    ignored = ignored_by(loss_fn)
    if labels is not None and labels.numel() and not labels.is_floating_point():
        shifted = labels[..., 1:] if isinstance(batch, Mapping) and labels.dim() > 1 else labels
        if bool((labels == ignored).all()) or bool((shifted == ignored).all()):
            return said("labels_all_masked", ignored=ignored)
    for name, tensor in (*inputs.items(), ("the targets", labels)):
        if tensor is not None and not tensor.numel():
            return f"{name} of this batch are empty, so the mean is over nothing. Leave out batches without examples."
        if tensor is not None and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return f"{name} of this batch hold nan or inf. Mend the data."
    if not all(bool(torch.isfinite(parameter).all()) for parameter in parameters):
        return "The trained parameters hold nan or inf already. Load an earlier adapter, or make a new one."
    return ADVICE


def _parts(batch):
    """Return the tensors of a batch, ``{name: inputs}, labels``."""
    if isinstance(batch, Mapping):
        tensors = {str(key): value for key, value in batch.items() if isinstance(value, torch.Tensor)}
        return tensors, tensors.pop("labels", None)
    if isinstance(batch, tuple | list) and len(batch) == 2:
        inputs, labels = (part if isinstance(part, torch.Tensor) else None for part in batch)
        return ({} if inputs is None else {"the inputs": inputs}), labels
    return {}, None
