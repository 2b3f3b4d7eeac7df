"""The three ways to a change of rank r: what each has cut, and the lines over the ranks."""

from data.make_cut_or_train import cut_lines, cut_or_train, cut_weights
from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.truncate_update import block_matrices
from lora_teach.measure.tuning import trainable_copy
from tests.finished_updates import QUICK, rank, tuned_matrices

import pytest
import torch


@pytest.fixture(scope="module")
def base():
    return load_name_gpt()


@pytest.fixture(scope="module")
def tuned(base):
    return tuned_matrices(base)


def test_only_the_matrices_that_lora_adapts_train(base, tuned):
    matrices = block_matrices(base)
    assert len(matrices) == 18
    assert set(matrices) == {f"{path}.weight" for path in trainable_copy(base, 1).lora_layers}
    changed = {name for name, value in tuned.named_parameters() if not torch.equal(value, base.get_parameter(name))}
    assert changed == set(matrices)


def test_cut_weights_have_the_rank_and_are_the_nearest(base, tuned):
    for name, weight in block_matrices(cut_weights(tuned, 5)).items():
        assert rank(weight) == 5
        whole = tuned.get_parameter(name)
        lost = torch.linalg.svdvals(whole)[5:].square().sum()
        assert torch.allclose((whole - weight).square().sum(), lost, rtol=1e-3)
    test = names.load("Zulu").test
    assert evaluate(cut_weights(tuned, 96), test) == pytest.approx(evaluate(tuned, test), abs=1e-3)


def test_cutting_changes_neither_model(base, tuned):
    before = [value.clone() for model in (base, tuned) for value in model.state_dict().values()]
    cut_lines(base, tuned, [1], names.load("Zulu").test[:5])
    after = [value for model in (base, tuned) for value in model.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_cut_or_train_gives_three_lines_over_the_ranks(base):
    rates = {"LoRA": (1e-2,), "full": (1e-3,)}
    result = cut_or_train(base, "Zulu", [1, 8], rates, seeds=(0, 1), **QUICK)
    assert set(result["lines"]) == {"weights cut", "update cut", "trained"}
    assert result["lr"] == {"full": 1e-3, "1": 1e-2, "8": 1e-2}
    for way, losses in result["lines"].items():
        assert losses == pytest.approx([sum(seed[way][at] for seed in result["by_seed"]) / 2 for at in (0, 1)])
        assert losses[1] < losses[0]
    assert result["full"] < result["lines"]["update cut"][1]
