"""Cut a finished update, tuned minus pretrained weights, down to rank r.

``data/make_cut_or_train.py`` sets it beside LoRA that was trained at rank r.
"""

import copy

from lora_teach.measure.spectrum import truncate

import torch
from torch import nn


def block_matrices(model):
    """Return ``{name: parameter}`` of the weights of the linear layers in NameGPT's blocks: what LoRA adapts there."""
    layers = {
        f"blocks.{name}": module for name, module in model.blocks.named_modules() if isinstance(module, nn.Linear)
    }
    return {f"{name}.weight": module.weight for name, module in layers.items()}


@torch.no_grad()
def truncate_update(base, tuned, rank):
    """Return a copy of ``tuned`` whose block matrices are those of ``base`` plus their change cut to ``rank``."""
    model = copy.deepcopy(tuned)
    before = block_matrices(base)
    for name, weight in block_matrices(model).items():
        weight.copy_(before[name] + truncate(weight - before[name], rank))
    return model
