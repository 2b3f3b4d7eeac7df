"""Biases that an adapter brings along: its own value for the bias of a layer that it adapts."""

import torch


def take_on(layer, module, bias):
    """Let ``layer``, beside ``module``, replace that module's bias by ``bias`` in its output.

    PEFT's ``bias="lora_only"`` trains the base's own biases and so changes the base. Here the base keeps its own, and
    the layer adds the difference, by a forward hook on it. The bias is used, not trained further.
    """
    bias = bias.to(layer.lora_A)  # (out_features,), in the layer's dtype and on its device
    layer.register_buffer("trained_bias", bias.clone())
    layer.register_buffer("bias_shift", bias - module.bias.detach().to(layer.lora_A), persistent=False)
    layer.register_forward_hook(_add_shift)


def _add_shift(layer, args, output):
    shift = layer.bias_shift.to(output.dtype)
    return output + (shift[:, None, None] if layer.kind == "Conv2d" else shift)


def merged_bias(module, parts):
    """Return ``module.bias`` with the weighted shifts of ``parts`` added, or None if no layer has one."""
    shifts = [(factor, layer.bias_shift) for factor, layer in parts if hasattr(layer, "bias_shift")]
    if not shifts:
        return None
    wide = torch.promote_types(module.bias.dtype, torch.float32)
    total = module.bias.to(wide, copy=True)
    for factor, shift in shifts:
        total += factor * shift.to(wide)
    return total.to(module.bias.dtype)
