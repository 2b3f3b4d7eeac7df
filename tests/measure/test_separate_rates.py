"""Separate rates: four numbers that are two; runs that should be the same are, and others are not."""

from lora_teach.bases import accuracy, load_digit_net
from lora_teach.datasets import digits
from lora_teach.measure.retraining import LR, retrain
from lora_teach.measure.separate_rates import EPS, accuracy_by_strength, train_separate_rates, two_lives_of_alpha

import pytest
import torch

TURNED = digits.rotated(90)
C = 4


@pytest.fixture(scope="module")
def plain():
    return train_separate_rates(TURNED, steps=60)


def test_with_every_number_at_its_start_it_is_retrain(plain):
    run = retrain(TURNED, 8, alpha=8, steps=60)
    assert plain.loss == run.loss and plain.accuracy == run.accuracy


@pytest.mark.parametrize(
    "changed",
    [
        {"size_A": C, "lr_A": C * LR, "factor": 1 / C, "eps_A": EPS / C},
        {"lr_B": C * LR, "factor": 1 / C, "eps_B": EPS / C},
        {"size_A": C, "lr_A": C * LR, "lr_B": C * LR, "factor": 1 / C**2, "eps_A": EPS / C, "eps_B": EPS / C},
        {"size_A": C, "lr_A": C * LR, "lr_B": LR / C, "eps_A": EPS / C, "eps_B": EPS * C},
    ],
)
def test_changes_that_keep_both_numbers_keep_every_loss(plain, changed):
    assert train_separate_rates(TURNED, steps=60, **changed).loss == pytest.approx(plain.loss, abs=1e-5)


@pytest.mark.parametrize(
    "changed", [{"size_A": C}, {"lr_A": C * LR}, {"lr_B": C * LR}, {"factor": 1 / C}, {"size_A": C, "factor": 1 / C}]
)
def test_changes_that_keep_only_one_of_them_do_not(plain, changed):
    losses = train_separate_rates(TURNED, steps=60, **changed).loss
    assert max(abs(a - b) for a, b in zip(losses, plain.loss, strict=True)) > 0.1


def test_alpha_after_training_is_a_dial_and_before_it_a_rate_of_b():
    lines = two_lives_of_alpha(TURNED, (0.25, 1, 4), steps=60)
    assert lines["trained"] == lines["rate of B"]
    assert lines["used"][1] == lines["trained"][1]
    assert all(used < trained for used, trained in zip(lines["used"][::2], lines["trained"][::2], strict=True))


def test_turning_an_adapter_leaves_it_as_it_was(plain):
    before = [parameter.clone() for parameter in plain.model.parameters()]
    reached = accuracy_by_strength(plain.model, TURNED, [0, 1])
    assert reached == [accuracy(load_digit_net(), *TURNED.test), plain.accuracy]
    assert plain.model.active_adapters == {"default": 1.0}
    assert all(map(torch.equal, plain.model.parameters(), before))


def test_a_run_that_blows_up_says_so():
    run = train_separate_rates(TURNED, lr_B=1e30, steps=30)
    assert run.blew_up and run.final_loss == float("inf")
