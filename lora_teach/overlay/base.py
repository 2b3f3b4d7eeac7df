"""What the overlay needs to know about the base, and what it copies from it."""

import sys
from copy import deepcopy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrizations import _SpectralNorm

ADAPTER_LIBRARIES = ("peft", "loralib", "adapters", "lycoris")
FACTORS = ({"lora_a", "lora_b"}, {"lora_down", "lora_up"})  # what others call their factors, in lower case


def check_base(base):
    """Raise TypeError or ValueError if no overlay can be laid over ``base``."""
    if not isinstance(base, nn.Module):
        raise TypeError(f"base_model is a {type(base).__name__}, not a module. Use a torch.nn.Module.")
    if hasattr(type(base), "updates_for"):
        raise TypeError("base_model is a LoRAModel already. Use its add_adapter(name, config) for another adapter.")
    if any(_of_overlay(hook) for module in base.modules() for hook in module._forward_hooks.values()):
        raise ValueError(
            "base_model carries a LoRAModel's overlay already. Call remove() on that LoRAModel first, load the "
            "base afresh, or use its add_adapter(name, config) for another adapter."
        )
    for name, module in base.named_modules():
        package = next((kind for kind in map(_package, type(module).__mro__) if kind in ADAPTER_LIBRARIES), None)
        own = {key.lower() for key in (*module._parameters, *module._modules)}
        if package or any(pair <= own for pair in FACTORS):
            raise ValueError(
                f"base_model carries LoRA layers already: {name or 'itself'!r} is a {type(module).__name__}"
                + (f" of {package}" if package else "")
                + ". Merge them into the weights first (with PEFT: base = model.merge_and_unload()), or load the base "
                "afresh."
            )
    lazy = [name for name, parameter in base.named_parameters() if nn.parameter.is_lazy(parameter)]
    if lazy:
        raise ValueError(f"base_model has parameters without a shape yet ({lazy[0]}). Call it once with a batch first.")


def refuse_writing_the_base(base, name):
    """Raise AttributeError if ``name`` is a method of ``base`` that writes it to a file: no adapter would be in it."""
    writes = name == "save" or name.startswith(("save_", "push_to_")) or name.endswith("_to_hub")
    if writes and callable(getattr(base, name, None)):
        raise AttributeError(
            f"{name} is the base model's, and would write it without the adapter. Use save_adapter(folder) for the "
            f"adapter, or remove(merge=True).{name}(…) for the whole model with the update in its weights; "
            f"base_model.{name}(…) writes the base alone."
        )


class Found:
    """What a base was like before it was frozen: its ``requires_grad`` flags and the modes of its normalisations.

    A BatchNorm in training would move its running statistics, which no adapter file holds, so while the overlay lies
    over it each one that keeps such statistics stays in evaluation, and so does a spectral norm with its vectors.
    """

    def __init__(self, base):
        self.base = base
        self.flags = {name: parameter.requires_grad for name, parameter in base.named_parameters()}
        norms = [module for module in base.modules() if isinstance(module, _NormBase | _SpectralNorm)]
        self.norms = [(module, module.training) for module in norms if getattr(module, "track_running_stats", True)]

    def freeze(self):
        """Let no parameter require a gradient, and no running statistic move."""
        for parameter in self.base.parameters():
            parameter.requires_grad_(False)
        self.hold_norms()

    def hold_norms(self):
        """Put the normalisations back into evaluation, after the base was put into training."""
        for module, _ in self.norms:
            module.training = False

    def put_back(self):
        """Give each parameter its own flag, and each normalisation its own mode."""
        for name, parameter in self.base.named_parameters():
            parameter.requires_grad_(self.flags.get(name, parameter.requires_grad))
        for module, mode in self.norms:
            module.training = mode and self.base.training


def forget_compiled():
    """Let torch.compile look anew: what it has compiled knows nothing of hooks that were registered later."""
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is not None and getattr(getattr(dynamo, "utils", None), "counters", {}).get("frames"):
        torch.compiler.reset()


def plain_copy(module, memo=()):
    """Copy ``module`` (deepcopy) without the hooks of an overlay, with every floating-point parameter trainable."""
    hooks = [hook for m in module.modules() for hook in m._forward_hooks.values() if _of_overlay(hook)]
    memo = dict(memo) | {id(hook): hook for hook in hooks}  # the hooks, and so their model, are not copied
    copy = deepcopy(module, memo)
    for inner in copy.modules():
        for key in [key for key, hook in inner._forward_hooks.items() if _of_overlay(hook)]:
            del inner._forward_hooks[key], inner._forward_hooks_with_kwargs[key]
    for parameter in copy.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return copy


def keep_dense(base):
    """Register `stay_dense` on each nn.TransformerEncoder of ``base``, and return the handles."""
    encoders = [module for module in base.modules() if isinstance(module, nn.TransformerEncoder)]
    return [encoder.register_forward_pre_hook(stay_dense, with_kwargs=True) for encoder in encoders]


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


def _package(kind):
    return kind.__module__.partition(".")[0]


def _of_overlay(hook):
    return getattr(hook, "of_overlay", False)
