"""Logits only where labels count: a language model's head is much of a step, and most labels are masked."""

import inspect
from collections.abc import Mapping

from lora_teach.loop.weights import IGNORED, shifts
from lora_teach.overlay.names import base_of

import torch
from torch import nn
from torch.nn.functional import cross_entropy, pad

WORTH_IT = 0.9  # of the positions; above this share, picking some out saves nothing
OTHERS = ("logits_to_keep", "shift_labels", "num_items_in_batch")  # a batch with one of these has its own way


def where_labels_count(model, batch, loss_fn):
    """Return ``(batch, loss_fn)`` that give the same loss with fewer logits; the given two where that can't be.

    It can be for a causal language model of transformers' whose loss is the plain mean over shifted labels. A position
    is kept if the label after it counts in any row of the batch.
    """
    if loss_fn is not None or not isinstance(batch, Mapping) or not takes_positions(model):
        return batch, loss_fn
    labels = batch.get("labels")
    if not isinstance(labels, torch.Tensor) or labels.dim() != 2 or any(key in batch for key in OTHERS):
        return batch, loss_fn
    following = pad(labels[:, 1:], (0, 1), value=IGNORED)  # (batch, seq): what each position is to predict
    kept = (following != IGNORED).any(0).nonzero().squeeze(1)
    if not 0 < len(kept) <= WORTH_IT * labels.shape[1]:
        return batch, loss_fn
    targets = following[:, kept].flatten()

    def loss(output, _):
        logits = output.logits if output.logits.shape[1] == len(kept) else output.logits[:, kept]
        return cross_entropy(logits.float().flatten(0, 1), targets.to(logits.device), ignore_index=IGNORED)

    rest = {key: value for key, value in batch.items() if key != "labels"}
    return rest | {"logits_to_keep": kept}, loss


def takes_positions(model):
    """Whether the base is a causal language model of transformers', unchanged, that can leave logits out."""
    if isinstance(model, nn.DataParallel):  # it would deal the positions out like rows
        return False
    base = base_of(model)
    forward = type(base).forward
    if not shifts(base) or not forward.__module__.startswith("transformers."):
        return False
    own_way = "forward" in vars(base) or "_loss_function" in vars(base) or base._forward_hooks
    adds_to_loss = getattr(base.config, "output_router_logits", False)  # experts' balance
    return not own_way and not adds_to_loss and "logits_to_keep" in inspect.signature(forward).parameters
