"""The first step: what its docstring derives, held against steps that were taken; and that these are drawn."""

from lora_teach.bases import load_digit_net
from lora_teach.datasets import digits
from lora_teach.layer import SCALINGS
from lora_teach.measure.retraining import HIDDEN, digit_batches
from lora_teach.measure.tuning import trainable_copy
from lora_teach.pictures.first_step.numbers import LR, OPTIMIZERS, first_drop, first_drops, growth
from lora_teach.pictures.first_step.view import POWERS, RULES, draw_first_steps
from lora_teach.plots.style import MARKERS

import numpy as np
import pytest
import torch
import torch.nn.functional as F

TURNED = digits.rotated(90)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("rank", [1, 64])
def test_the_rate_is_small_enough_that_the_first_order_is_all_there_is(optimizer, scaling, rank):
    for split in (TURNED, digits.rotated(30)):
        drop = first_drop(split, rank, scaling, optimizer=optimizer)
        assert drop.came == pytest.approx(drop.expected, rel=0.01) and drop.came > 0


def test_a_rate_a_hundred_times_larger_is_not():
    drop = first_drop(digits.rotated(30), 64, "alpha", lr=100 * LR)
    assert abs(drop.came / drop.expected - 1) > 0.1


@pytest.mark.parametrize(
    ("optimizer", "rule", "power"),
    [
        ("Adam", "alpha/r", 0),
        ("Adam", "alpha/sqrt(r)", 0.5),
        ("Adam", "alpha", 1),
        ("gradient descent", "alpha/r", -1),
        ("gradient descent", "alpha/sqrt(r)", 0),
        ("gradient descent", "alpha", 1),
    ],
)
def test_the_drop_grows_with_the_rank_as_derived(optimizer, rule, power):
    ranks = (4, 16, 64)
    drops = first_drops(TURNED, ranks, seeds=8, optimizer=optimizer)
    assert growth(ranks, drops[rule]) == pytest.approx(power, abs=0.2)


def test_the_first_step_moves_b_alone_and_each_of_its_numbers_by_the_rate():
    model = trainable_copy(load_digit_net(), 4, alpha=8, target_modules=HIDDEN).double()
    ((x, y),) = digit_batches(TURNED, batches=1, batch_size=256)
    A = {name: layer.lora_A.clone() for name, layer in model.lora_layers.items()}
    optimizer = torch.optim.AdamW(model.trainable_parameters(), 1e-4, weight_decay=0.0)
    F.cross_entropy(model(x.double()), y).backward()
    optimizer.step()
    for name, layer in model.lora_layers.items():
        assert torch.equal(layer.lora_A, A[name])
        moved, felt = layer.lora_B.abs(), layer.lora_B.grad.abs()
        assert not moved[felt == 0].any()
        assert torch.allclose(moved[felt > 1e-5], torch.tensor(1e-4).double(), rtol=2e-3)


def test_it_repeats_and_leaves_the_base_and_the_callers_random_numbers_alone():
    base, state = load_digit_net(), torch.get_rng_state()
    first = first_drop(TURNED, 2, base=base)
    assert first == first_drop(TURNED, 2, base=base) == first_drop(TURNED, 2)
    assert first != first_drop(TURNED, 2, seed=1)
    assert all(parameter.dtype == torch.float32 for parameter in base.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_an_unknown_optimiser_is_refused():
    with pytest.raises(ValueError, match="'Adam', 'gradient descent'"):
        first_drop(TURNED, 2, optimizer="Lion")


def test_growth_is_the_power_of_the_rank():
    ranks = (1, 2, 4, 64)
    for power in (-1, 0, 0.5):
        assert growth(ranks, [3 * rank**power for rank in ranks]) == pytest.approx(power)


RANKS = (1, 4, 16)
DROPS = {
    "Adam": {"alpha/r": [1.0, 1.0, 1.0], "alpha/sqrt(r)": [1.0, 2.0, 4.0], "alpha": [1.0, 4.0, 16.0]},
    "gradient descent": {"alpha/r": [1.0, 0.25, 0.0625], "alpha/sqrt(r)": [1.0, 1.0, 1.0], "alpha": [1.0, 4.0, 16.0]},
}


def drawn(axes, marker):
    """The points drawn with this marker."""
    (found,) = [line for line in axes.lines if line.get_marker() == marker]
    return [tuple(map(float, point)) for point in zip(*found.get_data(), strict=True)]


def test_first_step_draws_every_drop_and_the_slope_that_was_derived_through_it():
    made = draw_first_steps(DROPS, RANKS)
    for axes, (optimizer, lines) in zip(made.axes, DROPS.items(), strict=True):
        for rule, (role, _) in RULES.items():
            assert drawn(axes, MARKERS[role]) == list(zip(RANKS, lines[rule], strict=True))
        slopes = {
            round(float(np.polyfit(np.log(line.get_xdata()), np.log(line.get_ydata()), 1)[0]), 6)
            for line in axes.lines
            if line.get_marker() in ("", "None")
        }
        assert slopes == set(POWERS[optimizer].values())
        assert axes.get_xscale() == axes.get_yscale() == "log"


def test_the_guess_stands_at_the_last_rank_so_many_times_as_high_as_the_first():
    axes = draw_first_steps(DROPS, RANKS, guess=50).axes[0]
    assert drawn(axes, "D") == [(16.0, 50.0)]
    assert axes.get_ylim()[1] > 50
    assert not [line for line in draw_first_steps(DROPS, RANKS).axes[0].lines if line.get_marker() == "D"]


@pytest.mark.parametrize(("guess", "error"), [("8", TypeError), (float("nan"), ValueError), (-1, ValueError)])
def test_another_guess_is_refused_with_a_cure(guess, error):
    with pytest.raises(error, match="Give a factor"):
        draw_first_steps(DROPS, RANKS, guess)
