"""Cutting a finished update to rank r, and turning it down."""

from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.strength import scaled_update, strength_path
from lora_teach.measure.truncate_update import block_matrices, truncate_update
from lora_teach.measure.tuning import trainable_copy, tune
from tests.finished_updates import QUICK, rank, tuned_matrices

import pytest
import torch


@pytest.fixture(scope="module")
def base():
    return load_name_gpt()


@pytest.fixture(scope="module")
def tuned(base):
    return tuned_matrices(base)


def test_a_cut_update_has_the_rank_and_the_whole_one_is_the_tuned_model(base, tuned):
    before = block_matrices(base)
    for name, weight in block_matrices(truncate_update(base, tuned, 3)).items():
        assert rank(weight - before[name]) == 3
    test = names.load("Zulu").test
    assert evaluate(truncate_update(base, tuned, 96), test) == pytest.approx(evaluate(tuned, test), abs=1e-3)
    assert evaluate(truncate_update(base, tuned, 0), test) == pytest.approx(evaluate(base, test), abs=1e-3)


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
