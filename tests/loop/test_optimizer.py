"""The parameters that train, and their optimiser."""

from lora_teach import LoRAModel, train, training_steps
from lora_teach.loop.optimizer import set_lrs
from tests.toy import bits, filled, mlp, pairs, same_bits

import pytest
import torch
from torch import nn

mse = nn.functional.mse_loss


def test_an_optimiser_that_lacks_trainable_parameters_is_refused():
    base = mlp()
    optimizer = torch.optim.AdamW(base.parameters())  # built before the adapters
    model = LoRAModel(base)
    before = bits(model)
    with pytest.raises(ValueError, match=r"lacks 4 of 4.*model.trainable_parameters\(\)"):
        train(model, pairs(), mse, optimizer=optimizer, progress=False)
    assert same_bits(before, bits(model))


def test_nothing_to_train_is_refused(model):
    model.set_adapter(None)
    with pytest.raises(ValueError, match="set_adapter"):
        train(model, pairs(), mse, progress=False)


def test_ones_own_optimiser_keeps_its_learning_rates(model):
    optimizer = torch.optim.SGD(model.trainable_parameters(), lr=0.1)
    list(training_steps(model, pairs(), mse, steps=3, optimizer=optimizer, schedule=lambda done: 1 - done))
    assert optimizer.param_groups[0]["lr"] == 0.1
    halving = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    lrs = []
    for step in training_steps(model, pairs(), mse, steps=3, optimizer=optimizer):
        lrs.append(step.lr)
        halving.step()
    assert lrs == pytest.approx([0.1, 0.05, 0.025])


def test_the_optimiser_gets_the_trainable_parameters_only(monkeypatch, model):
    seen, real = [], torch.optim.AdamW

    def spy(parameters, *args, **kwargs):
        parameters = list(parameters)
        seen.extend(parameters)
        return real(parameters, *args, **kwargs)

    monkeypatch.setattr(torch.optim, "AdamW", spy)
    model.add_adapter("inactive")
    train(model, pairs(), mse, steps=1, progress=False)
    assert [id(p) for p in seen] == [id(p) for p in model.lora_layers.parameters()]


def test_an_optimiser_of_ones_own_is_used(model):
    optimizer = torch.optim.SGD(model.trainable_parameters(), lr=0.1)
    before = model.lora_layers["2"].lora_B.detach().clone()
    [step] = training_steps(model, pairs(), mse, steps=1, optimizer=optimizer, lr=99)
    assert step.lr == 0.1
    other = filled(LoRAModel(mlp()))
    mse(other(pairs()[0][0]), pairs()[0][1]).backward()
    assert torch.allclose(model.lora_layers["2"].lora_B, before - 0.1 * other.lora_layers["2"].lora_B.grad)


def test_a_schedules_factor_multiplies_each_groups_own_rate():
    first, second = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = torch.optim.SGD([{"params": [first], "lr": 0.4}, {"params": [second], "lr": 0.02}])
    set_lrs(optimizer, [0.4, 0.02], 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.005]
    with pytest.raises(ValueError, match="zip"):
        set_lrs(optimizer, [0.4], 0.25)  # a rate that belongs to no group is never dropped in silence
