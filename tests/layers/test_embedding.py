"""The LoRA layer beside an embedding, alone; beside its module it is in test_build.py."""

from lora_teach.layers.embedding import LoRAEmbedding
from tests.toy import fixed, tokens

import pytest
import torch
from torch import nn


def test_an_embeddings_padding_row_gets_no_gradient():
    layer = fixed(LoRAEmbedding(11, 8, padding_idx=2), seed=4)
    layer(torch.arange(11)).sum().backward()
    assert not layer.lora_A.grad[2].any()
    assert layer.lora_A.grad[3].any()


def test_the_start_is_the_authors():
    torch.manual_seed(0)
    layer = LoRAEmbedding(400, 300, rank=50)
    assert not layer.lora_A.any()
    assert abs(layer.lora_B.std().item() - 1) < 0.05
    fixed(layer, seed=4).reset_parameters()
    assert not layer.delta_weight().any()


def test_shapes_and_delta_weight_are_those_of_the_module():
    layer = LoRAEmbedding(11, 8, rank=3)
    assert (layer.lora_A.shape, layer.lora_B.shape) == ((11, 3), (3, 8))
    assert layer.delta_weight().shape == nn.Embedding(11, 8).weight.shape
    assert layer(tokens()).shape == (3, 5, 8)


@pytest.mark.parametrize(
    ("sizes", "rank", "words"),
    [((0, 8), 4, "num_embeddings=0"), ((11, 8), 9, r"rank=9 is too large for Embedding\(11 → 8\).*Use 1..8")],
)
def test_bad_sizes_are_refused(sizes, rank, words):
    with pytest.raises(ValueError, match=words):
        LoRAEmbedding(*sizes, rank=rank)
