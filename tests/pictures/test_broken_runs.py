"""BrokenRuns: each mistake has its symptom, and the doctor's name for it."""

from lora_teach.pictures.broken_runs import MISTAKES, BrokenRuns, draw_runs, new_run
from lora_teach.pictures.broken_runs.numbers import STEPS

import pytest


def end(losses):
    return sum(losses[-10:]) / 10


@pytest.fixture(scope="module")
def losses():
    return {mistake: new_run(mistake).train() for mistake in MISTAKES}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_doctor_finds_each_mistake_and_no_other(mistake):
    fault = MISTAKES[mistake][1]
    found = [finding.fault for finding in new_run(mistake).doctor().findings]
    assert found == ([] if fault == "healthy" else [fault])


@pytest.mark.parametrize("mistake", ["optimiser too early", "A and B zero", "alpha 0"])
def test_where_nothing_moves_the_same_batch_has_the_same_loss_to_the_last_digit(losses, mistake):
    assert losses[mistake][:50] == losses[mistake][50:100] == losses[mistake][150:]


def test_with_a_small_rate_the_same_batch_is_a_little_better(losses):
    slow = losses["lr 0.00002"]
    assert all(later < first for first, later in zip(slow[:50], slow[150:], strict=True))
    assert end(slow) > 0.95 * end(losses["alpha 0"])


def test_the_other_symptoms(losses):
    assert end(losses["none"]) < 0.2
    assert max(losses["lr 1"]) > 100 and 2.2 < end(losses["lr 1"]) < 2.4
    assert 0.5 < end(losses["weight decay 10"]) < 2.0


def test_a_run_is_the_same_each_time_and_training_one_leaves_others():
    first, second = draw_runs(3), draw_runs(3)
    assert first["A"].train(20) == second["A"].train(20)
    assert len(new_run("none").train()) == STEPS


def test_the_view_says_where_it_starts_and_ends(losses):
    view = BrokenRuns(3)
    assert view.move("lr 1").startswith("Mistake: lr 1. The last 10 batches cost 2.3")
    assert "the highest loss was " in view.move("lr 1") and "highest" not in view.move("none")
    still = view.move("A and B zero")
    assert "cost 3.18 nats on average, the base 3.18" in still
    assert "Your guess: 3.00 nats" in view.move("lr 0.00002")
    assert "Your guess" not in view.move("none")
    assert "weight decay 10" in view.static_figure().sentence
