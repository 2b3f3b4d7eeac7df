import pytest

from lora_teach import LoRAModel
from lora_teach.bases import NameGPT
from lora_teach.bases.name_gpt import LAYER_GROUPS
from lora_teach.pictures.targets.view import Targets
from tests.live.sweep import sweep


def test_sentence_counts_what_the_library_counts():
    for values, sentence in sweep(Targets.example(guess=2)):
        model = LoRAModel(NameGPT(), rank=values["rank"], target_modules=LAYER_GROUPS[values["targets"]])
        trainable, layers = model.count()[0], len(model.lora_layers)
        assert f"rank {values['rank']}: {trainable:,} numbers train, beside" in sentence
        weights = sum(model.get_submodule(name).weight.numel() for name in model.lora_layers)
        assert f"beside {weights:,} frozen weights in {layers} layers;" in sentence
        assert f"; {trainable / model.count()[1]:.1%} of all parameters." in sentence


@pytest.mark.parametrize("rank", [1, 8, 48])
def test_mlp_costs_a_quarter_more_than_attention_at_every_rank(rank):
    view = Targets(NameGPT())
    assert view.trainable(rank)["MLP"] == 1.25 * view.trainable(rank)["attention"]
    assert view.weights["MLP"] == 2 * view.weights["attention"]


def test_rank_48_of_attention_is_as_large_as_the_layers():
    view = Targets(NameGPT())
    assert view.trainable(48)["attention"] == view.weights["attention"]


def test_diamond_stands_at_the_guess_times_attention():
    explorer = Targets.example(guess=2)
    explorer.move(rank=10)
    assert explorer.view.drawn.guess.get_xdata() == [2 * explorer.view.trainable(10)["attention"]]


def test_twin_says_both_ratios():
    assert "2.00 times" in str(Targets.example().twin) and "1.25 times" in str(Targets.example().twin)
