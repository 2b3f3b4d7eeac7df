"""Stability: the runs are ordinary ones, and what is drawn is how large their updates are."""

from lora_teach.bases import load_digit_net
from lora_teach.datasets import digits
from lora_teach.measure.retraining import retrain
from lora_teach.pictures.stability import followed, growth_at_end
from lora_teach.pictures.stability.numbers import Followed, update_size

import pytest

TURNED = digits.rotated(90)


@pytest.mark.parametrize(("scaling", "alpha"), [("alpha/r", 8), ("alpha/sqrt(r)", 8), ("alpha", 1)])
def test_a_followed_run_is_the_run_that_retrain_makes(scaling, alpha):
    run = followed(TURNED, 8, scaling, 0.01, steps=12)
    plain = retrain(TURNED, 8, lr=0.01, steps=12, alpha=alpha, scaling=scaling)
    assert run.steps == [1, 5, 10] and len(run.sizes) == len(run.losses) == 3
    assert run.losses[0] == pytest.approx(plain.loss[0]) and run.losses[2] == pytest.approx(sum(plain.loss[5:10]) / 5)


def test_the_size_is_the_mean_share_of_both_weights():
    run = retrain(TURNED, 4, lr=0.01, steps=10)
    base, layers = load_digit_net(), run.model.lora_layers
    sizes = [
        (layers[path].delta_weight().norm() / base.get_submodule(path).weight.norm()).item()
        for path in ("hidden1", "hidden2")
    ]
    assert update_size(run.model) == pytest.approx(sum(sizes) / 2)


def test_growth_compares_the_last_rank_with_the_first():
    assert growth_at_end({1: Followed([1], [0.5], [1.0]), 8: Followed([1, 2], [9.0, 2.0], [1.0, 1.0])}) == 4


def test_a_run_that_blows_up_ends_and_is_kept():
    run = followed(TURNED, 64, "alpha", 1e30, steps=20)
    assert len(run.steps) < 5
