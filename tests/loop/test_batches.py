"""What a run accepts as a batch, that each module is afterwards in its own mode, and an error that can travel."""

import pickle
from collections import namedtuple

import pytest
import torch
from torch import nn

from lora_teach import LoRAModel, NonFiniteLoss, train, training_steps

Batch = namedtuple("Batch", "inputs targets")


def tower():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))


@pytest.mark.parametrize("kind", [tuple, list, lambda pair: Batch(*pair)])
def test_a_batch_is_a_tuple_a_list_or_a_namedtuple(kind):
    batches = [kind((torch.ones(6, 8), torch.ones(6, 4)))]
    assert len(train(tower(), batches, nn.functional.mse_loss, steps=2, progress=False)) == 2


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("leave_early", [False, True])
def test_each_module_is_afterwards_in_the_mode_in_which_it_was_found(wrapped, leave_early):
    base = tower().train()
    base[1].eval()  # as where the statistics of a BatchNorm are to stay
    model = LoRAModel(base, rank=2) if wrapped else base
    modes = [module.training for module in model.modules()]
    for _ in training_steps(model, [(torch.randn(6, 8), torch.ones(6, 4))], nn.functional.mse_loss, steps=3):
        model.eval()
        if leave_early:
            break
    assert [module.training for module in model.modules()] == modes


def test_a_loss_that_is_not_finite_is_told_in_another_process_too():
    batches = [(torch.ones(6, 8), torch.full((6, 4), float("nan")))]
    with pytest.raises(NonFiniteLoss) as caught:
        train(tower(), batches, nn.functional.mse_loss, progress=False)
    caught.value.history.loss.append(1.5)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.step, copy.history) == (str(caught.value), 1, caught.value.history)
