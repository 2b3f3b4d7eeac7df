"""What is in the updates of whole models: counted another way on the shipped Zulu adapter and on made-up updates."""

import copy

from lora_teach.bases import evaluate, load_language_adapter, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure import intruder_dimensions, shrink_intruders
from lora_teach.measure.learned import Shrinker, matrices, updates
from lora_teach.measure.truncate_update import block_matrices
from tests.finished_updates import moved_at_random

import pytest
import torch

SOME = names.load("English").test[:40]


@pytest.fixture(scope="module")
def base():
    return load_name_gpt()


@pytest.fixture(scope="module")
def zulu():
    return load_language_adapter(load_name_gpt(), "Zulu")


@pytest.fixture(scope="module")
def moved(base):
    return moved_at_random(base)


def test_the_matrices_of_an_overlay_are_those_that_merging_makes_and_it_is_left_as_it_was(base, zulu):
    before = evaluate(zulu, SOME)
    found = matrices(zulu)
    assert len(found) == 18
    merged = copy.deepcopy(zulu)
    merged.merge()
    for name, weight in block_matrices(merged.base_model).items():
        assert torch.allclose(found[name.removesuffix(".weight")], weight, atol=1e-6)
    assert evaluate(zulu, SOME) == before
    for name, delta in updates(base, zulu).items():
        assert torch.allclose(delta, zulu.lora_layers[name].delta_weight(), atol=1e-6)


def test_the_update_of_a_tuned_model_is_the_difference_of_the_weights(base, moved):
    for name, delta in updates(base, moved).items():
        layer = base.get_submodule(name).weight, moved.get_submodule(name).weight
        assert torch.equal(delta, layer[1] - layer[0])


def test_a_shrinker_is_the_tuned_model_at_1_and_can_go_up_and_down(base, zulu, moved):
    for tuned in (zulu, moved):
        shrinker = Shrinker(base, tuned, 0.6, 6)
        as_trained = evaluate(tuned, SOME)
        assert evaluate(shrinker.at(1.0), SOME) == pytest.approx(as_trained, abs=1e-5)
        low = evaluate(shrinker.at(0.5), SOME)
        assert low != as_trained
        assert shrinker.path([1.0, 0.5], SOME) == [[pytest.approx(as_trained, abs=1e-5)], [pytest.approx(low)]]
        model, before, after = shrinker.at(0.25), matrices(base), matrices(tuned)
        for name, weight in block_matrices(model).items():
            name = name.removesuffix(".weight")
            expected = shrink_intruders(before[name], after[name], 0.25, 0.6, 6)
            assert torch.allclose(weight, expected, atol=1e-5)
            assert shrinker.counts[name] == len(intruder_dimensions(before[name], after[name], 0.6, 6))
        assert evaluate(tuned, SOME) == as_trained
