"""Cutting a finished update to rank r, and turning it down."""

from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.strength import scaled_update, strength_path
from lora_teach.measure.truncate_update import (
    block_matrices,
    cut_lines,
    cut_or_train,
    cut_weights,
    train_matrices_only,
    truncate_update,
)
from lora_teach.measure.tuning import trainable_copy, tune

import pytest
import torch

QUICK = {"steps": 8, "check_every": 4, "batch_size": 16}


@pytest.fixture(scope="module")
def base():
    return load_name_gpt()


@pytest.fixture(scope="module")
def tuned(base):
    model = train_matrices_only(trainable_copy(base))
    tune(model, "Zulu", lr=1e-3, **QUICK)
    return model


def rank(matrix):
    return int(torch.linalg.matrix_rank(matrix.double(), rtol=1e-4))


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


def test_a_cut_update_has_the_rank_and_the_whole_one_is_the_tuned_model(base, tuned):
    before = block_matrices(base)
    for name, weight in block_matrices(truncate_update(base, tuned, 3)).items():
        assert rank(weight - before[name]) == 3
    test = names.load("Zulu").test
    assert evaluate(truncate_update(base, tuned, 96), test) == pytest.approx(evaluate(tuned, test), abs=1e-3)
    assert evaluate(cut_weights(tuned, 96), test) == pytest.approx(evaluate(tuned, test), abs=1e-3)
    assert evaluate(truncate_update(base, tuned, 0), test) == pytest.approx(evaluate(base, test), abs=1e-3)


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


def test_the_scaled_update_passes_through_both_models(base, tuned):
    for strength, end in ((0.0, base), (1.0, tuned)):
        scaled = scaled_update(base, tuned, strength)
        for parameter, expected in zip(scaled.parameters(), end.parameters(), strict=True):
            assert torch.allclose(parameter, expected, atol=1e-6)
    name = "blocks.1.mlp.up_proj.weight"
    half = scaled_update(base, tuned, 0.5).get_parameter(name)
    assert torch.allclose(half, (base.get_parameter(name) + tuned.get_parameter(name)) / 2, atol=1e-6)


def test_the_path_begins_at_the_base_and_passes_the_trained_model(base, tuned):
    new, old = names.load("Zulu").test, names.load("English").test[:200]
    start = (evaluate(base, new), evaluate(base, old))
    lora = trainable_copy(base, 2)
    tune(lora, "Zulu", lr=1e-2, **QUICK)
    end = (evaluate(lora, new), evaluate(lora, old))
    path = strength_path(lora, [0.0, 1.0], new, old)
    assert path[0] == pytest.approx(start, abs=1e-5)
    assert path[1] == pytest.approx(end, abs=1e-5)
    assert lora.active_adapters == {"default": 1.0}
    full = strength_path(tuned, [0.0, 1.0], new, old, base)
    assert full[0] == pytest.approx(start, abs=1e-5)
    assert full[1] == pytest.approx((evaluate(tuned, new), evaluate(tuned, old)), abs=1e-5)
