"""Numbers as the nearest of a few codes, times a scale for each block: NF4 and double quantisation.

Dettmers et al. 2023, "QLoRA" (arXiv 2305.14314), section 3. What is a code and what a scale is the same for the weights
(16 codes, blocks of 64) and for the scales of their blocks, which are quantised once more (256 codes, blocks of 256).
"""

import math
from dataclasses import dataclass

from lora_teach.utils.validation import check_count

import torch

SCALES_BLOCK = 256  # scales that share a scale of their own
PLAIN = {"dtype": torch.float32, "device": "cpu"}  # of the codes, whatever the defaults are


@dataclass(frozen=True)
class Quantized:
    """A tensor in a few bits a number, as `quantize` returns it.

    Attributes:
        indices: uint8 ``(numbers,)``, which of the codes each number is.
        codes: float32 ``(codes,)``, sorted, from -1 to 1.
        scales: float32 ``(blocks,)``, what a block's codes are multiplied by; or these again as a Quantized.
        block_size: Numbers in a block; the last block may be shorter.
        shape: Of the tensor.
        offset: float32 ``()``, added to every number; None for none.
    """

    indices: torch.Tensor
    codes: torch.Tensor
    scales: "torch.Tensor | Quantized"
    block_size: int
    shape: torch.Size
    offset: torch.Tensor | None = None

    def dequantize(self):
        """Return what is left of the tensor, float32 in its shape."""
        scales = self.scales.dequantize() if isinstance(self.scales, Quantized) else self.scales
        values = scale_blocks_(self.codes[self.indices.int()], scales, self.block_size)
        return (values if self.offset is None else values + self.offset).view(self.shape)

    @property
    def bits_per_number(self):
        """Bits that are stored for each number, scales included; the codes are the same for all and don't count."""
        nested = isinstance(self.scales, Quantized)
        scales = self.scales.bits_per_number * self.scales.shape.numel() if nested else 32 * self.scales.numel()
        offset = 0 if self.offset is None else 32
        return math.log2(len(self.codes)) + (scales + offset) / self.indices.numel()


def normal_float(bits=4):
    """Return the codes of NormalFloat: ``2**bits`` values from -1 to 1 that are equally often the nearest.

    They are quantiles of the normal distribution, evenly spaced in probability on either side of an exact zero and
    divided by the largest: QLoRA, section 3, equation 4 and appendix E. The positive side has one more. The outermost
    quantile is the mean of what each side would take for itself, 1 - 1/32 and 1 - 1/30 of NF4.

    Args:
        bits: From 2 to 8; 4 gives the published NF4.

    Returns:
        float32 ``(2**bits,)``, sorted.

    Raises:
        TypeError, ValueError: ``bits`` that are no whole number from 2 to 8.

    >>> [round(code, 4) for code in normal_float(bits=3).tolist()]
    [-1.0, -0.535, -0.2469, 0.0, 0.1833, 0.382, 0.623, 1.0]
    """
    if not 2 <= check_count("bits", bits) <= 8:
        raise ValueError(f"bits={bits} is out of range: use 2 to 8. The paper's NF4 has 4.")
    outermost = round(1 - (1 / 2 ** (bits + 1) + 1 / (2 ** (bits + 1) - 2)) / 2, 7)  # as published, in float32
    sides = []
    for count in (2 ** (bits - 1), 2 ** (bits - 1) - 1):  # positive, negative
        probabilities = torch.linspace(outermost, 0.5, count + 1, **PLAIN)[:-1]
        sides.append(torch.special.ndtri(probabilities.double()).float())
    codes = torch.cat([-sides[1], torch.zeros(1, **PLAIN), sides[0].flip(0)])
    return codes / codes.max()


def dynamic_codes():
    """Return the 256 codes that scales are stored in: eight bits in which small numbers have more digits.

    Dettmers 2016, "8-bit approximations for parallelism in deep learning" (arXiv 1511.04561): the tenth from 0.1 to 1
    has 64 codes of either sign, the one below it 32, and so on; and there are 0 and 1.
    """
    codes = [torch.tensor([0.0, 1.0], **PLAIN)]
    for power in range(7):
        edges = torch.linspace(0.1, 1, 2**power + 1, **PLAIN)
        middles = 10.0 ** (power - 6) * (edges[:-1] + edges[1:]) / 2
        codes += [middles, -middles]
    return torch.cat(codes).sort().values


def quantize(weight, bits=4, block_size=64, double=True):
    """Quantise a tensor to NormalFloat codes, block by block; the tensor stays as it is.

    A block is ``block_size`` neighbours in the flattened tensor. Its scale is its largest absolute number (absmax), and
    each number becomes the nearest code times that. ``double`` quantises the scales too: their mean is taken off, and
    what is left goes in blocks of 256 to `dynamic_codes`; 32 bits a scale become 8 and a little.

    Args:
        weight: Any tensor of finite floating-point numbers.
        bits: Bits of a code, 2 to 8.
        block_size: Numbers that share a scale; bitsandbytes takes powers of 2 from 32.
        double: Whether the scales are quantised too.

    Returns:
        A Quantized; its ``dequantize()`` gives the tensor back as far as it is kept, ``bits_per_number`` what it takes.

    Raises:
        TypeError: ``bits`` or ``block_size`` that are no whole numbers.
        ValueError: ``bits`` out of range, a block below 1, or numbers that are not finite or not floating-point.

    >>> kept = quantize(torch.tensor([[0.5, -1.0], [0.02, 2.0]]), block_size=2, double=False)
    >>> kept.indices.tolist(), kept.scales.tolist()
    ([12, 0, 7, 15], [1.0, 2.0])
    """
    block_size, codes = check_count("block_size", block_size), normal_float(bits)
    if not weight.is_floating_point() or weight.numel() == 0 or weight.dtype.itemsize == 1:
        raise ValueError(f"a tensor of {weight.numel()} numbers in {weight.dtype} can't be quantised: it takes floats.")
    if not weight.is_meta and not torch.isfinite(weight).all():
        raise ValueError("the tensor has nan or inf, which no code stands for. Look where it comes from.")
    kept = _to_codes(weight.detach().float(), codes, block_size)
    if not double:
        return kept
    mean = kept.scales.mean()
    scales = _to_codes(kept.scales - mean, dynamic_codes(), SCALES_BLOCK, offset=mean)
    return Quantized(kept.indices, kept.codes, scales, block_size, kept.shape)


def _to_codes(values, codes, block_size, offset=None):
    codes, flat = codes.to(values.device), values.flatten()
    blocks = torch.nn.functional.pad(flat, (0, -len(flat) % block_size)).view(-1, block_size)
    scales = blocks.abs().amax(dim=1)  # (blocks,)
    shares = blocks * (1 / scales.clamp(min=1e-38))[:, None]  # (blocks, block_size), in [-1, 1]; a block may be zero
    middles = (codes[:-1] + codes[1:]) / 2
    indices = torch.bucketize(shares, middles).flatten()[: len(flat)].to(torch.uint8)
    return Quantized(indices, codes, scales, block_size, values.shape, offset)


def scale_blocks_(values, scales, block_size):
    """Multiply each block of ``values (numbers,)`` by its scale, ``scales (blocks,)``, in place, and return them."""
    if len(values) % block_size:
        return values.mul_(scales.repeat_interleave(block_size)[: len(values)])
    values.view(-1, block_size).mul_(scales[:, None])
    return values
