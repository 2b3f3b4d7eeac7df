"""Tuning with the checkpoint chosen on validation names."""

from lora_teach import LoRAModel
from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.tuning import best_learning_rate, trainable_copy, tune, tune_best

import pytest
import torch

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
    lora, full = trainable_copy(base, rank=4), trainable_copy(base)
    assert isinstance(lora, LoRAModel)
    assert lora.count()[0] == 4 * 5184  # 18 layers: 12 of 96 + 96 and 6 of 96 + 384
    assert all(parameter.requires_grad for parameter in full.parameters())
    assert torch.equal(full(tokens), base(tokens))
    assert torch.allclose(lora(tokens), base(tokens), atol=1e-5)


def test_the_seed_decides_loras_start_and_the_global_random_state_is_left_alone(base):
    state = torch.get_rng_state()
    first, same, other = (trainable_copy(base, 2, seed).trainable_parameters()[0] for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("rank", [2, None])
def test_tuning_leaves_the_model_at_its_best_checkpoint(base, rank):
    model = trainable_copy(base, rank)
    run = tune(model, "Zulu", lr=1e-2, **QUICK)
    assert run.steps == [0, 4, 8, 12]
    assert run.best_validation == min(run.validation) < run.validation[0]
    assert run.best_step == run.steps[run.validation.index(run.best_validation)]
    assert evaluate(model, names.load("Zulu").validation) == pytest.approx(run.best_validation, abs=1e-6)


def test_a_run_that_only_does_harm_ends_at_the_start(base):
    model = trainable_copy(base)
    run = tune(model, "Zulu", lr=10.0, steps=2, check_every=1)
    assert run.best_step == 0
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), base.parameters(), strict=True))


def test_patience_ends_a_run_that_no_longer_improves(base):
    run = tune(trainable_copy(base), "Zulu", lr=0.3, steps=40, check_every=2, patience=6)
    assert run.best_step == 0
    assert run.steps == [0, 2, 4, 6]


def test_tuning_twice_with_one_seed_is_the_same(base):
    runs = [tune(trainable_copy(base, 1), "Finnish", lr=1e-2, seed=3, **QUICK) for _ in range(2)]
    assert runs[0] == runs[1]
    assert tune(trainable_copy(base, 1), "Finnish", lr=1e-2, seed=4, **QUICK).validation != runs[0].validation


@pytest.mark.parametrize(
    ("start", "best", "order"),
    [(None, 0.1, [0.1, 1, 10, 100]), (1, 1, [1, 10, 0.1]), (100, 100, [100, 10]), (0.1, 0.1, [0.1, 1])],
)
def test_a_search_tries_the_whole_grid_or_walks_outwards_until_the_best_lies_inside(start, best, order):
    losses = {0.1: 1.5, 1: 2.0, 10: 2.5, 100: 2.2} if start != 1 else {0.1: 1.5, 1: 1.0, 10: 2.5, 100: 0.5}
    asked = []
    found, tried = best_learning_rate(lambda lr: asked.append(lr) or losses[lr], (0.1, 1, 10, 100), start)
    assert asked == order and tried == {lr: losses[lr] for lr in order} and found == best


def test_the_best_learning_rate_runs_with_every_seed(base):
    copy = lambda seed: trainable_copy(base, 1, seed)  # noqa: E731
    tried, tuned = tune_best(copy, "Zulu", (1e-5, 1e-2), seeds=(5, 6), patience=4, **QUICK)
    assert tried == {lr: tune(copy(5), "Zulu", lr=lr, seed=5, patience=4, **QUICK).best_validation for lr in tried}
    assert list(tried) == [1e-5, 1e-2]
    assert [(run.lr, run.seed, run.steps[-1]) for run, _ in tuned] == [(1e-2, 5, 12), (1e-2, 6, 12)]
    for run, model in tuned:
        assert evaluate(model, names.load("Zulu").validation) == pytest.approx(run.best_validation, abs=1e-6)
