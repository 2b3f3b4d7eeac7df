"""Tuning with the checkpoint chosen on validation names, and the Race that is built on it."""

import pytest
import torch

from lora_teach import LoRAModel
from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.race import race
from lora_teach.measure.tuning import contender, tune, tune_best

QUICK = {"steps": 12, "check_every": 4, "batch_size": 16}


@pytest.fixture(scope="module")
def base():
    return load_name_gpt()


@pytest.fixture(autouse=True)
def the_base_stays_as_it_is(base):
    before = {name: value.clone() for name, value in base.state_dict().items()}
    yield
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())


def test_a_contender_is_a_copy_that_starts_as_the_base(base):
    tokens = names.encode(["thandi", "eva"])[0]
    lora, full = contender(base, rank=4), contender(base)
    assert isinstance(lora, LoRAModel)
    assert lora.count()[0] == 4 * 5184  # 18 layers: 12 of 96 + 96 and 6 of 96 + 384
    assert all(parameter.requires_grad for parameter in full.parameters())
    assert torch.equal(full(tokens), base(tokens))
    assert torch.allclose(lora(tokens), base(tokens), atol=1e-5)


def test_the_seed_decides_loras_start_and_the_global_random_state_is_left_alone(base):
    state = torch.get_rng_state()
    first, same, other = (contender(base, 2, seed).trainable_parameters()[0] for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("rank", [2, None])
def test_tuning_leaves_the_model_at_its_best_checkpoint(base, rank):
    model = contender(base, rank)
    run = tune(model, "Zulu", lr=1e-2, **QUICK)
    assert run.steps == [0, 4, 8, 12]
    assert run.best_validation == min(run.validation) < run.validation[0]
    assert run.best_step == run.steps[run.validation.index(run.best_validation)]
    assert evaluate(model, names.load("Zulu").validation) == pytest.approx(run.best_validation, abs=1e-6)


def test_a_run_that_only_does_harm_ends_at_the_start(base):
    model = contender(base)
    run = tune(model, "Zulu", lr=10.0, steps=2, check_every=1)
    assert run.best_step == 0
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), base.parameters(), strict=True))


def test_patience_ends_a_run_that_no_longer_improves(base):
    run = tune(contender(base), "Zulu", lr=0.3, steps=40, check_every=2, patience=6)
    assert run.best_step == 0
    assert run.steps == [0, 2, 4, 6]


def test_tuning_twice_with_one_seed_is_the_same(base):
    runs = [tune(contender(base, 1), "Finnish", lr=1e-2, seed=3, **QUICK) for _ in range(2)]
    assert runs[0] == runs[1]
    assert tune(contender(base, 1), "Finnish", lr=1e-2, seed=4, **QUICK).validation != runs[0].validation


def test_the_best_learning_rate_runs_with_every_seed(base):
    tried, tuned = tune_best(lambda seed: contender(base, 1, seed), "Zulu", (1e-5, 1e-2), seeds=(5, 6), **QUICK)
    assert set(tried) == {1e-5, 1e-2}
    assert [(run.lr, run.seed) for run, _ in tuned] == [(1e-2, 5), (1e-2, 6)]
    for run, model in tuned:
        assert evaluate(model, names.load("Zulu").validation) == pytest.approx(run.best_validation, abs=1e-6)


def test_a_short_race_has_an_entry_for_every_contender(base):
    rates = {"LoRA": (1e-2,), "full": (1e-3,)}
    entries = race(base, "Zulu", ranks=(1, None), learning_rates=rates, seeds=(0, 1), **QUICK)
    assert list(entries) == ["LoRA r=1", "full"]
    assert entries["LoRA r=1"]["trainable"] == 5184
    assert entries["full"]["trainable"] == sum(parameter.numel() for parameter in base.parameters())
    for entry in entries.values():
        assert entry["test"] == pytest.approx(sum(run["test"] for run in entry["runs"]) / 2)
        assert entry["test"] < evaluate(base, names.load("Zulu").test)
        assert entry["spread"] > 0
