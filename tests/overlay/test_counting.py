"""Packed weights count as the numbers that the model computes with."""

from types import SimpleNamespace

from lora_teach import LoRAModel
from lora_teach.overlay.counting import count_numbers
from tests.toy import TinyGPT, mlp

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

IN, OUT = 6, 8


def four_bits(layer):
    """As bitsandbytes packs it: two numbers a byte, in one column."""
    layer.weight = nn.Parameter(torch.zeros(IN * OUT // 2, 1, dtype=torch.uint8), requires_grad=False)


def four_bits_that_know_their_shape(layer):
    four_bits(layer)
    layer.weight.quant_state = SimpleNamespace(shape=torch.Size([OUT, IN]))


def eight_bits(layer):
    layer.weight = nn.Parameter(torch.zeros(OUT, IN, dtype=torch.int8), requires_grad=False)


def in_buffers(layer):
    """As GPTQ packs it: eight numbers in an int32, beside scales."""
    del layer.weight
    layer.register_buffer("qweight", torch.zeros(IN * OUT // 8, dtype=torch.int32))


def as_a_parameter(layer):
    """As HQQ packs it: two numbers a byte, beside scales, as parameters of other names."""
    del layer.weight
    layer.W_q = nn.Parameter(torch.zeros(IN * OUT // 2, 1, dtype=torch.uint8), requires_grad=False)
    layer.scale = nn.Parameter(torch.zeros(4, 1))


def in_codebooks(layer):
    """As AQLM does: codes for parts of a row, and the book that they stand in."""
    del layer.weight
    layer.codes = nn.Parameter(torch.zeros(OUT, 1, 2, dtype=torch.int8), requires_grad=False)
    layer.codebooks = nn.Parameter(torch.zeros(2, 256, 1, 8))


def pruned(layer):
    prune.l1_unstructured(layer, "weight", 0.5)


def parametrised(layer):
    nn.utils.parametrizations.orthogonal(layer)


@pytest.mark.parametrize(
    "pack",
    [
        four_bits,
        four_bits_that_know_their_shape,
        eight_bits,
        in_buffers,
        as_a_parameter,
        in_codebooks,
        pruned,
        parametrised,
    ],
)
def test_a_packed_layer_counts_what_it_holds(pack):
    base = mlp()
    pack(base[0])
    assert count_numbers(base) == count_numbers(mlp()) == 6 * 8 + 8 + 8 * 4 + 4


def test_the_model_counts_with_the_packed_ones_and_its_adapters():
    base = mlp()
    four_bits(base[0])
    trainable, total = LoRAModel(base, rank=2).count()
    assert (trainable, total) == (2 * (14 + 12), 92 + 2 * (14 + 12))


def test_a_shared_weight_counts_once():
    assert count_numbers(TinyGPT()) == sum(p.numel() for p in TinyGPT().parameters())
