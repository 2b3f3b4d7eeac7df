"""bitsandbytes' layers in the place of plain ones; skipped where it is not installed."""

import pytest
from torch import nn


def four_bits(base, block_size=32, **options):
    """Put a Linear4bit in NF4 in the place of each linear layer. Its CPU code wants rows of whole blocks."""
    bnb = pytest.importorskip("bitsandbytes")

    def packed(linear):
        made = bnb.nn.Linear4bit(linear.in_features, linear.out_features, linear.bias is not None, quant_type="nf4")
        made.weight = bnb.nn.Params4bit(
            linear.weight.data.clone(), False, blocksize=block_size, quant_type="nf4", module=made, **options
        )
        return made

    return _in_place_of_linear(base, packed)


def eight_bits(base):
    """Put a Linear8bitLt in the place of each linear layer."""
    bnb = pytest.importorskip("bitsandbytes")

    def packed(linear):
        bias = linear.bias is not None
        made = bnb.nn.Linear8bitLt(linear.in_features, linear.out_features, bias, has_fp16_weights=False)
        made.weight = bnb.nn.Int8Params(linear.weight.data.clone(), False, has_fp16_weights=False)
        return made

    return _in_place_of_linear(base, packed)


def _in_place_of_linear(base, packed):
    for name, module in list(base.named_modules()):
        if type(module) is nn.Linear:
            made = packed(module)
            made.bias = module.bias
            parent, _, last = name.rpartition(".")
            setattr(base.get_submodule(parent), last, made.to("cpu").train(module.training))
    return base
