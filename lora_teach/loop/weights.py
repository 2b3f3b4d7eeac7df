"""What each part of a batch weighs in the whole: an update on several parts learns what one on all of them would."""

from collections.abc import Mapping
from functools import partial

from lora_teach.overlay.names import base_of

import torch
from torch.nn.modules.loss import _WeightedLoss

IGNORED = -100  # the target that cross entropy and the losses of transformers' leave out
SHIFTED = ("ForCausalLM", "ForConditionalGeneration")  # losses of transformers' that leave out the first label
UNNAMED = ("GPT2LMHeadModel", "BertLMHeadModel", "CTRLLMHeadModel", "OpenAIGPTLMHeadModel")  # so do these, unnamed


def weights_of(parts, loss_fn, model):
    """Return each part's share of the targets, numbers that sum to 1: a loss is a mean over the targets that count.

    Raises:
        ValueError: There are several parts, and ``loss_fn`` says that it is no plain mean.
    """
    if len(parts) == 1:
        return [1.0]  # whatever the loss is
    _check_is_a_mean(loss_fn)
    counts = [0 if part is None else counted(part, loss_fn, model) for part in parts]
    total = sum(counts)
    return [count / total if total else 1 / len(parts) for count in counts]


def counted(batch, loss_fn, model):
    """Return how many targets the loss of ``batch`` is a mean over; where that can't be seen, how many rows there are.

    Targets that are whole numbers count unless they are the loss's ``ignore_index``, -100 where it has none; of other
    targets every number counts. A causal language model of transformers' shifts its labels, so their first doesn't.
    """
    pair = isinstance(batch, tuple | list) and len(batch) == 2
    targets = batch.get("labels") if isinstance(batch, Mapping) else batch[1] if pair else None
    if not isinstance(targets, torch.Tensor):
        return rows_of(batch)
    if loss_fn is None and isinstance(batch, Mapping) and targets.dim() > 1 and shifts(model):
        targets = targets[..., 1:]
    if targets.is_floating_point() or targets.is_complex():
        return targets.numel()
    return int((targets != ignored_by(loss_fn)).sum())


def ignored_by(loss_fn):
    """Return the target that ``loss_fn`` does not count."""
    options = loss_fn.keywords if isinstance(loss_fn, partial) else {}
    return options.get("ignore_index", getattr(loss_fn, "ignore_index", IGNORED))


def rows_of(batch):
    """Return how many rows the tensors of a batch have, or 1 if it holds none."""
    if isinstance(batch, torch.Tensor):
        return len(batch) if batch.dim() else 1
    inside = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, tuple | list) else ()
    return max(map(rows_of, inside), default=1)


def shifts(model):
    """Whether a model of transformers' compares each label with what was predicted one place before."""
    base = model if model is None else base_of(model)
    causal = getattr(base, "loss_type", None) in SHIFTED or type(base).__name__ in UNNAMED
    return causal and not getattr(getattr(base, "config", None), "is_encoder_decoder", False)


def _check_is_a_mean(loss_fn):
    options = loss_fn.keywords if isinstance(loss_fn, partial) else {}
    reduction = options.get("reduction", getattr(loss_fn, "reduction", "mean"))
    if reduction != "mean":
        raise ValueError(
            f"the loss has reduction={reduction!r}, and an update on several parts of a batch weighs the mean of each. "
            "Use reduction='mean'."
        )
    weight = options.get("weight", getattr(loss_fn, "weight", None) if isinstance(loss_fn, _WeightedLoss) else None)
    if weight is not None:
        raise ValueError(
            "the loss weighs its targets (weight=…), so its mean over a batch can't be put together from the means of "
            "the batch's parts. Use a loss without weight, or one process and accumulate=1."
        )
