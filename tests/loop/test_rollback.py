"""A step that fails is rolled back."""

import math

from lora_teach import LoRAModel, NonFiniteLoss, training_steps
from lora_teach.loop.rollback import Rollback, left_as_found
from tests.toy import bits, mlp, same_bits

import pytest
import torch
from torch import nn


@pytest.fixture
def model():
    return mlp()


@pytest.fixture
def rollback(model):
    return Rollback(dict(model.named_parameters()), 2)


def move(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)


def test_an_error_inside_restores_every_parameter(model, rollback):
    move(model)
    before = bits(model)
    with pytest.raises(KeyboardInterrupt), rollback:
        move(model)
        raise KeyboardInterrupt
    assert same_bits(bits(model), before)


def test_without_an_error_the_update_stays(model, rollback):
    before = bits(model)
    with rollback:
        move(model)
    assert not same_bits(bits(model), before)
    rollback.restore()
    assert same_bits(bits(model), before)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which", range(4))
def test_one_number_that_is_not_finite_in_any_parameter_alone_is_caught(model, rollback, which, value):
    before = bits(model)
    with rollback:
        move(model)
        with torch.no_grad():
            list(model.parameters())[which].view(-1)[-1] = value
    with pytest.raises(NonFiniteLoss, match="not finite after step 5, whose loss was 0.25") as caught:
        rollback.check_parameters(0.25, 5)
    assert caught.value.step == 5 and same_bits(bits(model), before)


def test_finite_values_pass_the_checks(model, rollback):
    with rollback:
        move(model)
    moved = bits(model)
    rollback.check_loss(0.5, 1)
    rollback.check_parameters(0.5, 1)
    assert same_bits(bits(model), moved)


def test_a_loss_that_is_not_finite_restores_the_parameters_before_the_last_update(model, rollback):
    before = bits(model)
    with rollback:
        move(model)
    with pytest.raises(NonFiniteLoss, match="the loss is nan at step 2. Likely causes"):
        rollback.check_loss(math.nan, 2)
    assert same_bits(bits(model), before)


def test_modes_gradients_and_learning_rates_are_left_as_found(model):
    model.eval()
    model[1].train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError), left_as_found(model, optimizer, [0.1]):
        model.train()
        optimizer.param_groups[0]["lr"] = 7.0
        nn.functional.mse_loss(model(torch.ones(1, 6)), torch.ones(1, 4)).backward()
        raise ValueError
    assert [module.training for module in model] == [False, True, False] and not model.training
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("leave_early", [False, True])
def test_each_module_is_afterwards_in_the_mode_in_which_it_was_found(wrapped, leave_early):
    base = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    base[1].eval()  # as where the statistics of a BatchNorm are to stay
    model = LoRAModel(base, rank=2) if wrapped else base
    modes = [module.training for module in model.modules()]
    for _ in training_steps(model, [(torch.randn(6, 8), torch.ones(6, 4))], nn.functional.mse_loss, steps=3):
        model.eval()
        if leave_early:
            break
    assert [module.training for module in model.modules()] == modes
