"""Runs of the playground: counted before, trained as the library trains, scored on what they never saw."""

import math

import pytest
import torch

from lora_teach import LoRAModel, train
from lora_teach.bases import accuracy
from lora_teach.measure.retraining import CHANCE
from lora_teach.measure.tuning import trainable_copy
from lora_teach.pictures.playground.material import MATERIALS
from lora_teach.pictures.playground.numbers import METHODS, Run, Settings, plan
from lora_teach.utils.threads import one_thread


def finished(**changes):
    run = Run(Settings().changed(**changes))
    while run.advance(1.0):
        pass
    run.end()
    return run


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("material", ["inverted", "Zulu"])
def test_plan_counts_what_the_run_trains(material, method):
    for targets in MATERIALS[material].layers:
        settings = Settings(material, method, rank=7, targets=targets)
        planned, model = plan(settings), Run(settings).model
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert planned.trainable == trainable
        assert planned.total == sum(p.numel() for p in model.parameters())
        assert (trainable == planned.total) == (method == "full")


def test_layers_too_small_for_the_rank_are_left_out_of_all_and_told():
    assert list(plan(Settings(rank=10)).left_out) == []
    assert list(plan(Settings(rank=12)).left_out) == ["output"]
    assert list(plan(Settings(rank=96)).left_out) == ["hidden1", "output"]
    assert "Use 1..10" in plan(Settings(rank=12)).left_out["output"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rank": 11, "targets": "output"}, "rank=11 is too large for Linear.128 → 10.*Use 1..10"),
        ({"rank": 0}, "rank=0 is too small"),
        ({"material": "Klingon"}, "material='Klingon' is unknown. Use one of: 'turned 30'"),
        ({"material": "Zulu", "targets": "hidden1"}, "targets='hidden1' is unknown. Use one of: 'q and v'"),
        ({"method": "half"}, "method='half' is unknown"),
        ({"scaling": "r"}, "scaling='r' is unknown"),
        ({"alpha": "much"}, "alpha='much' is not a number"),
        ({"lr": 0.0}, "lr=0.0 is no learning rate"),
        ({"lr": "high"}, "lr='high' is no learning rate"),
        ({"steps": 0}, "steps=0 is too small"),
        ({"seed": -1}, "seed=-1 is no seed"),
        ({"seed": 0.5}, "seed=0.5 is no seed"),
        ({"ranks": 4}, "no setting 'ranks'. Use any of: material, method, rank"),
    ],
)
def test_what_cant_be_trained_is_refused_in_words(changes, words):
    with pytest.raises((TypeError, ValueError), match=words):
        Settings().changed(**changes)


def test_another_material_keeps_the_layers_it_has_and_takes_all_where_it_lacks_them():
    assert Settings(targets="hidden1").changed(material="inverted").targets == "hidden1"
    assert Settings(targets="hidden1").changed(material="Zulu").targets == "all"
    assert Settings(targets="hidden1").changed(material="Zulu", targets="MLP").targets == "MLP"


@pytest.mark.parametrize(("rule", "factor"), [("alpha/r", 2.0), ("alpha/sqrt(r)", 4.0), ("alpha", 8.0)])
def test_alpha_reaches_every_layer_by_the_rule(rule, factor):
    settings = Settings(rank=4, alpha=8.0, scaling=rule)
    assert settings.factor == factor
    assert {layer.scaling for layer in Run(settings).model.lora_layers.values()} == {factor}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("material", ["turned 30", "Finnish"])
def test_a_run_is_the_librarys_own_training_and_repeats_to_the_last_bit(material, method):
    settings = Settings(material, method, lr=0.02, steps=12, seed=3)
    brings = MATERIALS[material]
    model = trainable_copy(brings.base, None if method == "full" else 4, seed=3)
    with one_thread():
        history = train(
            model, brings.batches(3), brings.loss_fn, lr=0.02, steps=12, seed=3, progress=False
        )  # fmt: skip
    for seconds in (-1.0, 1.0):  # a step at a time, or many
        run = Run(settings)
        while run.advance(seconds):
            pass
        run.end()
        assert run.history.loss == history.loss and run.history.stopped is None
        assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), model.parameters(), strict=True))


def test_base_random_numbers_and_threads_stay_as_they_are():
    base, state, threads = MATERIALS["inverted"].base, torch.get_rng_state(), torch.get_num_threads()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    for method in METHODS:
        finished(material="inverted", method=method, steps=5).updates()
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


def test_a_finished_run_has_score_samples_and_record():
    run = finished(steps=60)
    x, y = run.material.split.test
    assert run.score == accuracy(run.model, x, y) > run.material.start
    assert run.after == run.material.samples(run.model) == run.samples()
    assert run.loss == pytest.approx(sum(run.history.loss[-20:]) / 20)
    record = run.record()
    assert record["rank"] == 4 and record["held_out"] == run.score and record["trainable"] == run.trainable
    assert record["seconds"] == sum(run.history.seconds) > 0
    assert repr(run) == f"Run 1 (turned 90°, r = 4): 60 steps, {run.score:.0%} of the test digits read right"


def test_a_run_ended_early_says_where_and_is_scored():
    run = Run(Settings(steps=30))
    assert math.isnan(run.loss)
    for _ in range(7):
        assert run.advance(-1.0)
    assert "not scored yet" in repr(run)
    run.end()
    assert run.history.stopped == "stopped after step 7 of 30" and run.score is not None
    assert run.loss == pytest.approx(sum(run.history.loss) / 7)
    assert not run.model.training and not any(p.grad is not None for p in run.model.parameters())


def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_a_usable_model():
    run = Run(Settings(method="full", lr=1e30, steps=30))
    while run.advance(1.0):
        pass
    run.end()
    assert run.history.stopped.startswith("not finite at step ") and len(run.history) < 30
    assert 0 <= run.score <= 1 and all(p.isfinite().all() for p in run.model.parameters())


@pytest.mark.parametrize("material", ["turned 90", "Zulu"])
def test_updates_are_what_merging_adds_and_what_full_fine_tuning_has_moved(material):
    base = {name: module.weight.clone() for name, module in MATERIALS[material].base.named_modules()
            if isinstance(module, torch.nn.Linear)}  # fmt: skip
    for method in METHODS:
        run = finished(material=material, method=method, steps=5)
        updates, model = run.updates(), run.model
        if isinstance(model, LoRAModel):
            model = model.remove(merge=True)
        for name, update in updates.items():
            torch.testing.assert_close(model.get_submodule(name).weight - base[name], update, rtol=1e-4, atol=1e-6)
        assert len(updates) == len(base) - (material == "Zulu" and method == "LoRA")  # the head is tied
        name, largest = Run.largest_update(finished(material=material, method=method, steps=5))
        assert largest.norm() == max(update.norm() for update in updates.values()) == updates[name].norm()


def test_notebook_says_too_high_a_rate_ends_in_guessing_and_a_small_alpha_saves_it():
    for settings in ({"lr": 0.1}, {"lr": 0.3}):
        stuck, saved = finished(**settings), finished(alpha=0.1, **settings)
        assert abs(stuck.loss - CHANCE) < 0.02 and stuck.score < 0.2
        assert saved.loss < 1.0 and saved.score > 0.7


def test_notebook_says_inverted_digits_need_a_high_rank():
    scores = [finished(material="inverted", rank=rank, alpha=rank).score for rank in (8, 64)]
    full = finished(material="inverted", method="full").score
    assert scores[0] < 0.7 < scores[1] < full


def test_notebook_says_full_fine_tuning_learns_finnish_names_by_heart():
    run = Run(Settings("Finnish", "full", lr=0.001, steps=500))
    while len(run.history) < 200:
        run.advance(-1.0)
    loss, score = run.loss, run.material.score(run.model)
    while run.advance(1.0):
        pass
    run.end()
    assert run.loss < loss - 0.3 and run.score > score + 0.2
