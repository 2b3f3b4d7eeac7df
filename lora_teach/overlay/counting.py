"""How many numbers a model holds, also where they are packed."""

import math

from lora_teach.layers.build import fits, sizes


def count_numbers(model):
    """Return the number of the model's parameters as it computes with them: packed weights count unpacked.

    A quantised weight of four bits holds two numbers a byte, and some are buffers, so that bytes are no count.
    """
    seen, total = set(), 0
    for module in model.modules():
        packed = _packed_away(module)
        for name, parameter in module._parameters.items():
            if parameter is None or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            if not packed or name == "bias":  # besides it there are the packed weight and its scales
                total += _numbers(module, name, parameter)
        total += packed
    return total


def report(model):
    """Return in words how many parameters of a LoRAModel train, in how many layers, and what was left out and why."""
    trainable, total = model.count()
    layers = sum(len(model.adapters[adapter]) for adapter in model.active_adapters)
    lines = [f"{trainable:,} of {total:,} parameters train ({trainable / total:.2%}), in {layers} adapted layers."]
    for adapter in model.active_adapters:
        lines += [f"Not adapted: {path}: {reason}" for path, reason in model.left_out[adapter].items()]
    return "\n".join(lines)


def _numbers(module, name, parameter):
    state = getattr(parameter, "quant_state", None)  # of bitsandbytes, which knows the shape
    if getattr(state, "shape", None) is not None:
        return math.prod(state.shape)
    if name == "weight" and not parameter.is_floating_point() and fits(module):
        return math.prod(sizes(module)) // getattr(module, "groups", 1)
    return parameter.numel()


def _packed_away(module):
    """Return the numbers of a quantised linear layer that keeps its weight under other names, or packed by torch."""
    shape = getattr(module, "in_features", None), getattr(module, "out_features", None)
    if module._parameters.get("weight") is not None or not all(isinstance(size, int) for size in shape):
        return 0
    held = [tensor for tensor in (*module._buffers.values(), *module._parameters.values()) if tensor is not None]
    if "_packed_params" in module._modules:  # with the bias
        return math.prod(shape) + (0 if module.bias() is None else shape[1])
    return math.prod(shape) if any(not tensor.is_floating_point() for tensor in held) else 0
