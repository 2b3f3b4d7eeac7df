"""The forward hook through which an adapter reaches its module."""

from copy import deepcopy

import torch


class Hook:
    """The one permanent forward hook on an adapted module: adds the active adapters' updates to its output.

    It looks everything up when it is called, so switching adapters, replacing a layer or merging never touches the
    hooks themselves (hooks that are added after ``torch.compile`` would be ignored).
    """

    def __init__(self, model, name):
        self.model = model
        self.name = name

    def __call__(self, module, args, kwargs, output):
        """Return the output with the active updates added, or None to leave it as it is."""
        model = self.model
        if model._disabled or model._folded:
            return None
        for adapter, weight in model._active.items():
            own = model.saved_modules[adapter].get(self.name)
            layer = own if own is not None else model.adapters[adapter].get(self.name)
            if layer is None or (own is None and model.is_merged):
                continue
            if layer.training != module.training:
                layer.train(module.training)  # dropout follows the module that is adapted
            if own is not None:
                return own(*args, **kwargs)
            x = args[0] if args else next(iter(kwargs.values()))  # (..., in_features)
            if weight == 1 and _takes_base_output(layer):
                output = layer(x, base_output=output)  # (..., out_features)
            else:  # a mixture, or a learner's own forward(x)
                output = output + (weight * layer(x)).to(output.dtype)
        return output


def _takes_base_output(layer):
    code = getattr(layer.forward, "__code__", None)
    return code is not None and "base_output" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def stay_dense(encoder, args, kwargs):
    """Forward pre-hook for nn.TransformerEncoder: keep padded inputs dense where gradients are on.

    In evaluation the encoder packs them into a nested tensor if neither its input nor its own (frozen) parameters need
    a gradient, and nn.MultiheadAttention then refuses what the adapters gave a gradient. An input that needs one tells.
    """
    src = args[0] if args else kwargs["src"]  # (batch, seq, width)
    if not torch.is_grad_enabled() or encoder.layers[0].training or src.requires_grad or torch.compiler.is_compiling():
        return None  # torch.compile stays dense by itself
    src = src.detach().requires_grad_()
    return ((src, *args[1:]), kwargs) if args else (args, kwargs | {"src": src})


def carries_overlay(base):
    """Tell whether any module of ``base`` has a LoRAModel's hook."""
    return any(isinstance(hook, Hook) for module in base.modules() for hook in module._forward_hooks.values())


def plain_copy(module):
    """Copy ``module`` without the hooks of an overlay, with every floating-point parameter trainable."""
    hooks = [hook for m in module.modules() for hook in m._forward_hooks.values() if isinstance(hook, Hook)]
    copy = deepcopy(module, {id(hook): hook for hook in hooks})  # the hooks are kept out of the copying …
    for inner in copy.modules():
        for key in [key for key, hook in inner._forward_hooks.items() if isinstance(hook, Hook)]:
            del inner._forward_hooks[key], inner._forward_hooks_with_kwargs[key]  # … and then taken off
    for parameter in copy.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return copy
