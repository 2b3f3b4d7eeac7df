"""A linear layer whose weight stays in four bits, and the verbs that make a model's layers so, and plain again."""

from functools import cache

from lora_teach.bases.quantized.codes import SCALES_BLOCK, dynamic_codes, normal_float, quantize, scale_blocks_
from lora_teach.config import LoRAConfig
from lora_teach.layers.build import known_forward
from lora_teach.overlay.base import check_base
from lora_teach.overlay.names import named_modules
from lora_teach.overlay.targets import choose

import torch
import torch.nn.functional as F
from torch import nn

# The two codes that a byte stands for, (256,), each pair as eight bytes: as one number it is found eight times as fast.
PAIRS = torch.cartesian_prod(normal_float(4), normal_float(4)).view(torch.int64).flatten()
SCALES = dynamic_codes()  # (256,)


class QuantizedLinear(nn.Linear):
    """``nn.Linear`` with its weight in NF4, two codes a byte: dequantised each time it is called, and never kept so.

    QLoRA (Dettmers et al. 2023, arXiv 2305.14314), section 3, equations 5 and 6. The weight can't be trained. Gradients
    reach the input, and so the adapters, and the bias. bitsandbytes' ``Linear4bit`` does the same in compiled code.

    Args:
        in_features, out_features, bias, device: As of ``nn.Linear``; the weight starts at random, quantised.
        block_size: Neighbouring weights that share a scale.
        double: Whether the scales are quantised too.

    Attributes:
        weight: uint8 ``((in_features · out_features + 1) // 2,)``, the packed codes.
        absmax: The scales of the blocks, ``(blocks,)``: uint8 with ``double``, else float32.
        nested_absmax: With ``double``, float32, a scale for each 256 of those; else None.
        nested_offset: With ``double``, float32 ``()``, their mean; else None.

    Shapes:
        forward: ``(..., in_features) -> (..., out_features)``, in the input's dtype.

    Raises:
        TypeError, ValueError: As `lora_teach.bases.quantized.quantize`.
    """

    def __init__(self, in_features, out_features, bias=True, device=None, *, block_size=64, double=True):
        super().__init__(in_features, out_features, bias, device)
        self._keep(_pack(self.weight, block_size, double))

    @classmethod
    def from_linear(cls, linear, *, block_size=64, double=True):
        """Return a quantised layer with the weight of an ``nn.Linear``, which stays as it is, and its bias, shared."""
        made = nn.Linear(linear.in_features, linear.out_features, bias=False, device="meta").train(linear.training)
        made.bias = linear.bias
        return _become_quantized(made, _pack(linear.weight, block_size, double))

    def forward(self, x):
        """Return ``x Wᵀ + bias``, with W dequantised for this moment."""
        if not x.is_floating_point():
            raise TypeError(
                f"the input of a QuantizedLinear is {x.dtype}. If the model casts it to its weight's dtype, as T5's wo "
                "does, leave that layer out: quantize_(model, exclude_modules=[…])."
            )
        return _Product.apply(x, self.bias, *self._packed(), self.block_size, (self.out_features, self.in_features))

    def dequantize(self):
        """Return the weight that it computes with, ``(out_features, in_features)``, in the dtype it had."""
        return _weight(*self._packed(), self.block_size, (self.out_features, self.in_features)).to(self.dtype)

    def extra_repr(self):
        """Tell sizes, blocks and whether the scales are quantised where the layer is printed."""
        double = self.nested_absmax is not None
        return f"{super().extra_repr()}, nf4, block_size={self.block_size}, double={double}"

    def _packed(self):
        return self.weight, self.absmax, self.nested_absmax, self.nested_offset

    def _keep(self, packed):
        found, self.dtype, self.block_size = packed
        self.weight = nn.Parameter(found[0], requires_grad=False)
        for name, buffer in zip(("absmax", "nested_absmax", "nested_offset"), found[1:], strict=True):
            self.register_buffer(name, buffer)

    def _apply(self, fn, recurse=True):
        """Move as any module; but ``.half()`` and the like change no scale, which would change every weight."""
        exact = {name: buffer for name, buffer in self._buffers.items() if buffer is not None}
        super()._apply(fn, recurse)
        self.dtype = fn(torch.empty(0, dtype=self.dtype, device=self.weight.device)).dtype
        for name, buffer in exact.items():
            if self._buffers[name].dtype != buffer.dtype:
                self._buffers[name] = buffer.to(self._buffers[name].device)
        return self


class _Product(torch.autograd.Function):
    """``x Wᵀ + bias``; for the backward it keeps the packed weight, which is there anyway, and dequantises again."""

    @staticmethod
    def forward(x, bias, packed, absmax, nested_absmax, nested_offset, block_size, shape):
        weight = _weight(packed, absmax, nested_absmax, nested_offset, block_size, shape).to(x.dtype)
        return F.linear(x, weight, None if bias is None else bias.to(x.dtype))  # (..., out_features)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, _, *packed, ctx.block_size, ctx.shape = inputs
        ctx.save_for_backward(*packed)

    @staticmethod
    def backward(ctx, grad):
        to_x = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = grad @ _weight(*ctx.saved_tensors, ctx.block_size, ctx.shape).to(grad.dtype)  # (..., in_features)
        if ctx.needs_input_grad[1]:
            to_bias = grad.reshape(-1, ctx.shape[0]).sum(0)  # (out_features,)
        return to_x, to_bias, None, None, None, None, None, None


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
    check_base(model)
    config = LoRAConfig(rank=1, target_modules=target_modules, exclude_modules=exclude_modules)
    named = dict(named_modules(model))
    packed, left_out = {}, {}
    for name, module in choose(model, config).adapted.items():
        problem = _why_not(module, named.get(name.rpartition(".")[0] if name else None))
        if problem is not None:
            left_out[name] = problem
            continue
        try:
            packed[module] = _pack(module.weight, block_size, double)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if left_out and (target_modules is not None or not packed):
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in left_out.items())
        raise ValueError(f"{type(model).__name__} has layers that can't be quantised:{reasons}")
    for module, found in packed.items():
        _become_quantized(module, found)
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
    bits = sum(8 * t.numel() * t.itemsize for layer in layers for t in layer._packed() if t is not None)
    return bits / sum(layer.in_features * layer.out_features for layer in layers)


def quantized_layers(model):
    """Return ``{name: QuantizedLinear}`` of a model, or raise ValueError if there is none."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, QuantizedLinear)}
    if not layers:
        raise ValueError(f"{type(model).__name__} has no QuantizedLinear. quantize_(model) makes them.")
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


def _pack(weight, block_size, double):
    """Return ``((packed, absmax, nested_absmax, nested_offset), dtype, block_size)`` of a weight."""
    kept = quantize(weight, 4, block_size, double)
    indices = F.pad(kept.indices, (0, len(kept.indices) % 2))
    scales = kept.scales
    scales = (scales.indices, scales.scales, scales.offset) if double else (scales, None, None)
    return (indices[::2] << 4 | indices[1::2], *scales), weight.dtype, kept.block_size


def _become_quantized(linear, packed):
    linear.__class__ = QuantizedLinear  # in place: whoever holds the module, and its hooks, go on as before
    linear._keep(packed)
    return linear


def _weight(packed, absmax, nested_absmax, nested_offset, block_size, shape):
    """Return the weight that was packed, float32 ``(out_features, in_features)``."""
    if nested_absmax is not None:
        absmax = _on(SCALES, absmax.device).index_select(0, absmax.int())  # (blocks,)
        absmax = scale_blocks_(absmax, nested_absmax, SCALES_BLOCK) + nested_offset
    values = _on(PAIRS, packed.device).index_select(0, packed.int()).view(torch.float32)  # (numbers,), or one more
    return scale_blocks_(values[: shape[0] * shape[1]], absmax, block_size).view(shape)


def _on(table, device):
    return table if table.device == device else _moved(table, device)


@cache
def _moved(table, device):
    return table.to(device)
