"""What notebook 03 says in words, without a cell that shows it; and that its folded solutions solve its exercises."""

import warnings

from lora_teach import LoRAModel
from lora_teach.bases import NameGPT
from lora_teach.measure import lora_parameters

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn


def wrapped(**options):
    return get_peft_model(NameGPT(), LoraConfig(**options))


def test_peft_wraps_the_layer_and_renames_its_weight():
    attention = wrapped(target_modules=["q_proj"]).base_model.model.blocks[0].attention
    assert not isinstance(attention.q_proj, nn.Linear)
    assert "q_proj.base_layer.weight" in attention.state_dict() and "q_proj.weight" not in attention.state_dict()


def test_peft_says_nothing_of_one_name_among_others_that_matches_nothing():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = wrapped(target_modules=["query_proj", "v_proj"])
    assert not [warning for warning in said if "query_proj" in str(warning.message)]
    assert {name.split(".lora_")[0][-6:] for name, p in model.named_parameters() if p.requires_grad} == {"v_proj"}


@pytest.mark.parametrize("rank", [4, 16])
def test_pefts_alpha_is_8_whatever_the_rank(rank):
    assert LoraConfig().r == 8 and LoraConfig(r=rank).lora_alpha == 8


def test_the_table_names_what_peft_has():
    assert callable(PeftModel.disable_adapter) and LoraConfig(use_rslora=True).use_rslora
    shapes = {
        name.partition("base_model.model.")[2]: tuple(p.shape)
        for name, p in wrapped(target_modules=["up_proj"], r=4).named_parameters()
    }
    assert shapes["blocks.0.mlp.up_proj.lora_A.default.weight"] == (4, 96)
    assert shapes["blocks.0.mlp.up_proj.lora_B.default.weight"] == (384, 4)


def test_asking_for_the_tied_head_is_an_error():
    with pytest.raises(ValueError, match="tied to the embedding"):
        LoRAModel(NameGPT(), target_modules=["head"])


def test_an_optimiser_built_first_moves_nothing_and_raises_nothing():
    base = NameGPT()
    early = torch.optim.AdamW(base.parameters(), lr=1e-2)
    model = LoRAModel(base)
    before = [p.detach().clone() for p in model.parameters()]
    model(torch.zeros(2, 5, dtype=torch.long)).square().mean().backward()
    early.step()
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


def test_of_all_matrices_with_as_many_weights_the_square_costs_the_least():
    sizes = {rows: lora_parameters(nn.Linear(rows, 36_864 // rows), 1) for rows in (48, 96, 192, 384)}
    assert min(sizes, key=sizes.get) == 192 and sizes[96] == sizes[384] > sizes[192]
    small = lora_parameters(nn.Linear(96, 96), 1) / 96**2
    assert small > sizes[96] / 36_864  # the MLP's are larger, so cheaper for their size
