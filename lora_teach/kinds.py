"""Which kind of layer fits beside which kind of module."""

import torch
from torch import nn

from lora_teach.layer import VARIANTS


def is_conv1d(module):
    """Tell whether ``module`` is transformers' Conv1D, GPT-2's linear layer with a weight of shape (in, out)."""
    kinds = type(module).__mro__  # by name, so that transformers need not be imported
    return any(kind.__name__ == "Conv1D" and kind.__module__.startswith("transformers.") for kind in kinds)


def is_adaptable(module):
    """Tell whether a LoRALayer fits beside ``module``: an ``nn.Linear`` (or subclass) or transformers' Conv1D."""
    return isinstance(module, nn.Linear) or is_conv1d(module)


def sizes(module):
    """Return ``(in_features, out_features)`` of an adaptable module."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    return tuple(module.weight.shape)  # Conv1D: (in_features, out_features)


def new_layer(name, module, config):
    """Return the layer that ``config`` asks for beside ``module``, which the base knows as ``name``."""
    weight = module.weight
    layer = VARIANTS[config.variant](
        *sizes(module),
        config.rank_of(name),
        config.alpha_of(name),
        scaling=config.scaling,
        learnable_scaling=config.learnable_scaling,
        dropout=config.dropout,
        init=config.init,
        device=weight.device,
        # Half precision is too coarse for small steps, so adapters over it, and over quantised weights, are float32.
        dtype=torch.float64 if weight.dtype == torch.float64 else torch.float32,
    )
    if hasattr(layer, "attach"):  # a variant that needs to know its module
        try:
            layer.attach(module)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return layer
