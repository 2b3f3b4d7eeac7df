"""A linear layer whose weight stays in four bits and is dequantised on the way."""

from functools import cache

from lora_teach.bases.quantized.codes import SCALES_BLOCK, dynamic_codes, normal_float, quantize, scale_blocks_

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
        self._keep(pack(self.weight, block_size, double))

    @classmethod
    def from_linear(cls, linear, *, block_size=64, double=True):
        """Return a quantised layer with the weight of an ``nn.Linear``, which stays as it is, and its bias, shared."""
        made = nn.Linear(linear.in_features, linear.out_features, bias=False, device="meta").train(linear.training)
        made.bias = linear.bias
        return become_quantized(made, pack(linear.weight, block_size, double))

    def forward(self, x):
        """Return ``x Wᵀ + bias``, with W dequantised for this moment."""
        if not x.is_floating_point():
            raise TypeError(
                f"the input of a QuantizedLinear is {x.dtype}. If the model casts it to its weight's dtype, as T5's wo "
                "does, leave that layer out: quantize_(model, exclude_modules=[…])."
            )
        return _Product.apply(x, self.bias, *self.packed(), self.block_size, (self.out_features, self.in_features))

    def dequantize(self):
        """Return the weight that it computes with, ``(out_features, in_features)``, in the dtype it had."""
        return _weight(*self.packed(), self.block_size, (self.out_features, self.in_features)).to(self.dtype)

    def extra_repr(self):
        """Tell sizes, blocks and whether the scales are quantised where the layer is printed."""
        double = self.nested_absmax is not None
        return f"{super().extra_repr()}, nf4, block_size={self.block_size}, double={double}"

    def packed(self):
        """Return ``(weight, absmax, nested_absmax, nested_offset)`` as they are stored."""
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


def pack(weight, block_size, double):
    """Return ``((packed, absmax, nested_absmax, nested_offset), dtype, block_size)`` of a weight."""
    kept = quantize(weight, 4, block_size, double)
    indices = F.pad(kept.indices, (0, len(kept.indices) % 2))
    scales = kept.scales
    scales = (scales.indices, scales.scales, scales.offset) if double else (scales, None, None)
    return (indices[::2] << 4 | indices[1::2], *scales), weight.dtype, kept.block_size


def become_quantized(linear, packed):
    """Turn an ``nn.Linear`` into a QuantizedLinear of what `pack` has returned, and return it."""
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
