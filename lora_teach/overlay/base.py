"""What the overlay needs to know about the base, and what it copies from it."""

from copy import deepcopy

import torch
from torch import nn


def check_base(base):
    """Raise TypeError or ValueError if no overlay can be laid over ``base``."""
    if not isinstance(base, nn.Module):
        raise TypeError(f"base_model is a {type(base).__name__}, not a module. Use a torch.nn.Module.")
    if any(_of_overlay(hook) for module in base.modules() for hook in module._forward_hooks.values()):
        raise ValueError(
            "base_model carries a LoRAModel's overlay already. Call remove() on that LoRAModel first, load the "
            "base afresh, or use its add_adapter(name, config) for another adapter."
        )
    lazy = [name for name, parameter in base.named_parameters() if nn.parameter.is_lazy(parameter)]
    if lazy:
        raise ValueError(f"base_model has parameters without a shape yet ({lazy[0]}). Call it once with a batch first.")


def plain_copy(module, memo=()):
    """Copy ``module`` (deepcopy) without the hooks of an overlay, with every floating-point parameter trainable."""
    hooks = [hook for m in module.modules() for hook in m._forward_hooks.values() if _of_overlay(hook)]
    copy = deepcopy(
        module, dict(memo) | {id(hook): hook for hook in hooks}
    )  # the hooks, and so their model, are not copied
    for inner in copy.modules():
        for key in [key for key, hook in inner._forward_hooks.items() if _of_overlay(hook)]:
            del inner._forward_hooks[key], inner._forward_hooks_with_kwargs[key]
    for parameter in copy.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return copy


def stay_dense(encoder, args, kwargs):
    """Forward pre-hook for nn.TransformerEncoder: keep padded inputs dense where gradients are on.

    In evaluation the encoder packs them into a nested tensor if neither its input nor its own (frozen) parameters need
    a gradient, and nn.MultiheadAttention then refuses the adapters' outputs, which need one.
    """
    src = args[0] if args else kwargs["src"]  # (batch, seq, width)
    if not torch.is_grad_enabled() or encoder.layers[0].training or src.requires_grad or torch.compiler.is_compiling():
        return None  # torch.compile stays dense by itself
    src = src.detach().requires_grad_()
    return ((src, *args[1:]), kwargs) if args else (args, kwargs | {"src": src})


def _of_overlay(hook):
    return getattr(hook, "of_overlay", False)
