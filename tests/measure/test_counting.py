"""Counts from sizes alone, compared with adapters that are really built."""

from lora_teach import LoRALayer, LoRAModel
from lora_teach.bases import NameGPT
from lora_teach.measure.counting import break_even_rank, layer_parameters, lora_parameters

import pytest
import torch
from torch import nn


@pytest.mark.parametrize("sizes", [(96, 96, 1), (96, 384, 4), (10, 3, 3)])
def test_the_count_of_a_layer_is_what_a_layer_holds(sizes):
    assert layer_parameters(*sizes) == sum(p.numel() for p in LoRALayer(*sizes).parameters())


@pytest.mark.parametrize("targets", [None, ["q_proj", "v_proj"], r".*mlp.*_proj"])
@pytest.mark.parametrize("rank", [1, 8])
def test_the_count_of_a_model_is_what_trains_in_it(targets, rank):
    counted = lora_parameters(NameGPT(), rank, targets)
    assert counted == LoRAModel(NameGPT(), rank=rank, target_modules=targets).count()[0]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_embeddings_and_convolutions_are_counted_too(groups):
    model = nn.ModuleDict({"table": nn.Embedding(20, 6), "conv": nn.Conv2d(8, 12, 3, groups=groups)})
    counted = lora_parameters(model, 4, ["table", "conv"])
    assert counted == LoRAModel(model, rank=4, target_modules=["table", "conv"]).count()[0]


def test_a_model_on_the_meta_device_is_counted_without_memory():
    with torch.device("meta"):
        huge = nn.Sequential(*(nn.Linear(12_288, 12_288) for _ in range(192)))
    assert lora_parameters(huge, rank=1) == 4_718_592  # Hu et al. 2021, table 4: GPT-3, q and v of 96 layers, 4.7M


def test_counting_leaves_the_model_alone():
    model = NameGPT()
    lora_parameters(model, 4)
    assert all(p.requires_grad for p in model.parameters()) and not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize(("sizes", "rank"), [((96, 96), 48), ((96, 384), 76.8)])
def test_at_the_break_even_rank_the_adapter_is_as_large_as_the_weight(sizes, rank):
    assert break_even_rank(*sizes) == pytest.approx(rank)
    assert rank * sum(sizes) == pytest.approx(sizes[0] * sizes[1])
