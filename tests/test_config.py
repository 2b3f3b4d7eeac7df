"""The options of an adapter."""

import copy
import dataclasses
import pickle

from lora_teach import LoRAConfig

import pytest


def test_the_defaults():
    config = LoRAConfig()
    assert dataclasses.asdict(config) == {
        "rank": 4, "alpha": None, "target_modules": None, "exclude_modules": (), "modules_to_save": (),
        "scaling": "alpha/r", "learnable_scaling": False, "dropout": 0.0, "variant": "lora", "init": "uniform",
        "rank_pattern": {}, "alpha_pattern": {}, "trainable_token_indices": None,
    }  # fmt: skip


def test_configs_are_compared_by_value_and_are_frozen():
    config = LoRAConfig(target_modules=["q", "v"], rank=3)
    assert config == LoRAConfig(target_modules=("q", "v"), rank=3)
    assert config != LoRAConfig(target_modules=("q", "v"), rank=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.rank = 8


def test_what_the_caller_goes_on_changing_does_not_reach_the_config():
    names, ranks = ["q"], {"q": 2}
    config = LoRAConfig(target_modules=names, rank_pattern=ranks)
    names.append("v")
    ranks["q"] = 99
    assert config.target_modules == ("q",)
    assert config.rank_of("q") == 2


def test_a_set_of_names_is_kept_in_one_order():
    assert LoRAConfig(target_modules={"v", "q", "k"}).target_modules == ("k", "q", "v")


def test_configs_can_be_copied_pickled_and_replaced():
    config = LoRAConfig(target_modules=["q"], rank=3, rank_pattern={"q": 2}, alpha=1.5)
    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert dataclasses.replace(config, rank=5).rank == 5
    with pytest.raises(ValueError, match="rank=0"):
        dataclasses.replace(config, rank=0)


@pytest.mark.parametrize(
    ("pattern", "name", "rank"),
    [
        ({"q_proj": 2}, "blocks.0.q_proj", 2),
        ({"q_proj": 2}, "q_proj", 2),
        ({"q_proj": 2}, "blocks.0.xq_proj", 8),
        ({"q_proj": 2}, "q_proj.inner", 8),
        ({"0.q_proj": 2}, "blocks.0.q_proj", 2),
        ({r"blocks\.[01]\..*": 2}, "blocks.1.v_proj", 2),
        ({"^q_proj": 2}, "blocks.0.q_proj", 8),
        ({"^q_proj": 2}, "q_proj", 2),
        ({"v|q": 2}, "a.q", 2),
        ({"q_proj": 2, "0.q_proj": 3}, "blocks.0.q_proj", 2),  # the first match counts
    ],
)
def test_patterns_match_the_end_of_a_name_as_pefts_do(pattern, name, rank):
    config = LoRAConfig(rank=8, rank_pattern=pattern)
    assert config.rank_of(name) == rank
    assert config.alpha_of(name) == rank  # no alpha means each layer's rank


def test_alpha_has_patterns_of_its_own():
    config = LoRAConfig(rank=8, alpha=16, rank_pattern={"q": 2}, alpha_pattern={"v": 1})
    assert [config.alpha_of(name) for name in ("q", "v", "k")] == [16, 1, 16]
