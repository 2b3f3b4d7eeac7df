"""The LoRA layer beside a convolution, alone; beside its module it is in test_build.py."""

import math

from lora_teach.layers.conv2d import LoRAConv2d
from tests.toy import fixed, numbers

import pytest
import torch
from torch import nn


def test_the_start_is_the_authors():
    torch.manual_seed(0)
    layer = LoRAConv2d(20, 90, 3, rank=80)
    bound = 1 / math.sqrt(20 * 3 * 3)
    assert 0.97 * bound < layer.lora_A.abs().max() <= bound
    assert not layer.lora_B.any()
    fixed(layer, seed=4).reset_parameters()
    assert not layer.delta_weight().any()


def test_shapes_and_delta_weight_are_those_of_the_module():
    layer, module = LoRAConv2d(4, 6, (3, 2), rank=2, stride=2), nn.Conv2d(4, 6, (3, 2), stride=2)
    assert (layer.lora_A.shape, layer.lora_B.shape) == ((24, 2), (2, 6))
    assert layer.delta_weight().shape == module.weight.shape
    for batch in ((2,), ()):
        image = numbers(*batch, 4, 9, 8)
        assert layer(image).shape == module(image).shape
    assert LoRAConv2d(4, 6, 3, rank=4, groups=2).lora_B.shape == (2, 6)


@pytest.mark.parametrize(
    ("sizes", "options", "words"),
    [
        ((4, 0, 3), {}, "out_channels=0"),
        ((4, 6, 3), {"rank": 7}, r"rank=7 is too large for Conv2d\(36 → 6\).*Use 1..6"),
        ((4, 6, 3), {"rank": 3, "groups": 2}, "rank=3.*2 groups.*multiple of 2"),
    ],
)
def test_bad_sizes_are_refused(sizes, options, words):
    with pytest.raises(ValueError, match=words):
        LoRAConv2d(*sizes, **options)
