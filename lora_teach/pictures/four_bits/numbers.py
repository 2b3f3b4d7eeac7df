"""What rounding to a few codes does to a weight, and to what NameGPT costs on English names.

Beside NormalFloat stand codes that are evenly spaced, and noise of the same size that has nothing to do with rounding.
"""

import copy

from lora_teach.bases import evaluate
from lora_teach.bases.quantized import quantize
from lora_teach.measure.random_update import random_like
from lora_teach.measure.truncate_update import block_matrices

import torch


def stored(weight, bits, block_size):
    """Return ``(what comes back, bits stored for each number)`` of NormalFloat with double quantisation."""
    kept = quantize(weight, bits, block_size)
    return kept.dequantize(), kept.bits_per_number


def even_codes(bits):
    """Return evenly spaced codes from −1 to 1 with an exact zero, one fewer than NormalFloat has.

    >>> even_codes(2).tolist()
    [-1.0, 0.0, 1.0]
    """
    return torch.linspace(-1, 1, 2**bits - 1)


def rounded(weight, codes, block_size):
    """Return ``weight`` with every number as the nearest code times its block's largest magnitude.

    >>> rounded(torch.tensor([0.1, 0.9, -2.0, 0.8]), even_codes(2), block_size=2).tolist()
    [0.0, 0.8999999761581421, -2.0, 0.0]
    """
    flat = weight.flatten()
    blocks = torch.nn.functional.pad(flat, (0, -len(flat) % block_size)).view(-1, block_size)  # (blocks, block_size)
    scales = blocks.abs().amax(1, keepdim=True)  # (blocks, 1)
    middles = (codes[1:] + codes[:-1]) / 2  # where the nearest code changes
    nearest = torch.bucketize(blocks / scales.clamp_min(torch.finfo(flat.dtype).tiny), middles)
    return (codes[nearest] * scales).flatten()[: len(flat)].view_as(weight)


@torch.no_grad()
def changed(base, change):
    """Return a copy of a NameGPT with ``change(weight)`` in the place of each linear weight of its blocks."""
    model = copy.deepcopy(base)
    for weight in block_matrices(model).values():
        weight.copy_(change(weight.detach()))
    return model


def losses(base, names, bits, block_size, seed=0):
    """Return the loss on these names, nats a letter, ``{"NormalFloat": …, "even": …, "noise": …}``.

    "noise" has, in place of the rounding, random numbers of the same norm, layer by layer.
    """
    draw, codes = torch.Generator().manual_seed(seed), even_codes(bits)
    ways = {
        "NormalFloat": lambda weight: stored(weight, bits, block_size)[0],
        "even": lambda weight: rounded(weight, codes, block_size),
        "noise": lambda weight: weight + random_like(stored(weight, bits, block_size)[0] - weight, generator=draw),
    }
    return {way: evaluate(changed(base, change), names) for way, change in ways.items()}
