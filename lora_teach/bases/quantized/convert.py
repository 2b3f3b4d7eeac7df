"""The verbs: a model's linear layers into four bits, and back."""

from lora_teach.bases.quantized.linear import QuantizedLinear, become_quantized, pack
from lora_teach.config import LoRAConfig
from lora_teach.layers.build import known_forward
from lora_teach.overlay.base import check_base
from lora_teach.overlay.names import named_modules
from lora_teach.overlay.targets import choose

from torch import nn


def quantize_(model, target_modules=None, *, exclude_modules=(), block_size=64, double=True):
    """Turn linear layers of ``model`` into `QuantizedLinear`, in place, and return it. Then lay a LoRAModel over it.

    Each layer stays the module that it is, with its names, hooks and bias; its weight is packed and its class changes.

    Args:
        model: A base without an overlay.
        target_modules: Names or a regular expression, as LoRAConfig takes them. None means every ``nn.Linear`` except a
            head that is tied to an embedding, and layers whose weight other modules read.
        exclude_modules: Names to leave as they are.
        block_size: Neighbouring weights that share a scale.
        double: Whether the scales are quantised too.

    Raises:
        TypeError, ValueError: A layer that is named and can't be quantised, no layer that can, a model that carries an
            overlay, or what `lora_teach.bases.quantized.quantize` refuses. Nothing has changed then.
    """
    packed = {}
    for name, module in layers_to_quantize(model, target_modules, exclude_modules).items():
        try:
            packed[module] = pack(module.weight, block_size, double)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    for module, found in packed.items():
        become_quantized(module, found)
    return model


def dequantize_(model):
    """Turn every `QuantizedLinear` of ``model`` into ``nn.Linear`` with the weight it computes with, and return it.

    The model may be a LoRAModel: the overlay stays, and then ``merge()`` works. What a merge then loses is the small
    size; the update fits these weights, to which it was trained, and not those from before quantising. The weights
    stay frozen, in the dtype they had.

    Raises:
        ValueError: No QuantizedLinear in it.
    """
    for module in quantized_layers(model).values():
        weight = nn.Parameter(module.dequantize(), requires_grad=False)
        for name in ("absmax", "nested_absmax", "nested_offset", "block_size", "dtype"):
            delattr(module, name)
        module.__class__, module.weight = nn.Linear, weight
    return model


def bits_per_parameter(model):
    """Return how many bits each weight of the model's `QuantizedLinear` layers takes, scales included.

    Raises:
        ValueError: No QuantizedLinear in it.
    """
    layers = quantized_layers(model).values()
    bits = sum(8 * t.numel() * t.itemsize for layer in layers for t in layer.packed() if t is not None)
    return bits / sum(layer.in_features * layer.out_features for layer in layers)


def quantized_layers(model):
    """Return ``{name: QuantizedLinear}`` of a model, or raise ValueError if there is none."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, QuantizedLinear)}
    if not layers:
        raise ValueError(f"{type(model).__name__} has no QuantizedLinear. quantize_(model) makes them.")
    return layers


def layers_to_quantize(model, target_modules=None, exclude_modules=()):
    """Return ``{name: nn.Linear}`` of what `quantize_` takes; errors as there."""
    check_base(model)
    config = LoRAConfig(rank=1, target_modules=target_modules, exclude_modules=exclude_modules)
    named, layers, left_out = dict(named_modules(model)), {}, {}
    for name, module in choose(model, config).adapted.items():
        problem = _why_not(module, named.get(name.rpartition(".")[0] if name else None))
        if problem is None:
            layers[name] = module
        else:
            left_out[name] = problem
    if left_out and (target_modules is not None or not layers):
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in left_out.items())
        raise ValueError(f"{type(model).__name__} has layers that can't be quantised:{reasons}")
    return layers


def _why_not(module, parent):
    """Return why a layer that can be adapted can't be quantised, with the cure, or None."""
    if isinstance(module, QuantizedLinear):
        return "it is quantised already. Leave it out."
    if type(module) is not nn.Linear or not known_forward(module):
        return f"{type(module).__name__} is more than an nn.Linear, which alone is quantised here. Leave it out."
    if isinstance(parent, nn.TransformerEncoderLayer):
        return "nn.TransformerEncoderLayer reads this layer's weight in evaluation, past its forward. Leave it out."
    return None
