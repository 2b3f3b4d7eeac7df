"""Random numbers of a run."""

from lora_teach import LoRAModel, train, training_steps
from lora_teach.loop.randomness import IsolatedRandomness
from tests.toy import bits, filled, mlp, numbers, same_bits

import pytest
import torch
from torch import nn

mse = nn.functional.mse_loss


def test_draws_inside_continue_each_other_and_leave_the_callers_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    mine, drawn, outside = IsolatedRandomness(3, torch.device("cpu")), [], []
    for _ in range(3):
        with mine:
            drawn.append(torch.rand(()))
        outside.append(torch.rand(()))
    assert torch.equal(torch.stack(outside), expected)
    assert torch.equal(torch.stack(drawn), torch.rand(3, generator=torch.Generator().manual_seed(3)))


def shuffled():
    dataset = torch.utils.data.TensorDataset(numbers(40, 6), numbers(40, 4, seed=3))
    return torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True)


def run(seed, model=None):
    model = model or filled(LoRAModel(mlp(), dropout=0.3))
    return [step.loss for step in training_steps(model, shuffled(), mse, steps=12, seed=seed)], bits(model)


def test_a_seed_repeats_shuffling_and_dropout_exactly():
    torch.manual_seed(1)
    losses, state = run(seed=5)
    torch.manual_seed(2)
    again, state_again = run(seed=5)
    assert losses == again
    assert same_bits(state, state_again)
    assert run(seed=6)[0] != losses


def test_the_callers_random_numbers_are_not_touched(model):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    run(seed=5, model=model)
    assert torch.equal(torch.rand(3), expected)


def test_the_callers_gpus_are_not_seeded_by_a_run_on_the_cpu(model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("every GPU was seeded"))
    run(seed=5, model=model)


def test_random_numbers_drawn_between_steps_do_not_change_the_run():
    losses, _ = run(seed=5)
    model = filled(LoRAModel(mlp(), dropout=0.3))
    noisy = []
    for step in training_steps(model, shuffled(), mse, steps=12, seed=5):
        noisy.append(step.loss)
        torch.rand(step.index)
    assert noisy == losses


def test_a_failing_run_gives_the_random_numbers_back(model):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with pytest.raises(ValueError, match="no batches"):
        train(model, [], mse, progress=False)
    assert torch.equal(torch.rand(3), expected)
