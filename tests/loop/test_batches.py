"""What a run accepts as a batch."""

from collections import namedtuple

from lora_teach import LoRAModel, train, training_steps
from tests.toy import awake, mlp, numbers

import pytest
import torch
from torch import nn

Batch = namedtuple("Batch", "inputs targets")
mse = nn.functional.mse_loss


def data(batches=3, size=8):
    return [(numbers(size, 6, seed=10 + i), numbers(size, 4, seed=20 + i)) for i in range(batches)]


@pytest.fixture
def model():
    return awake(LoRAModel(mlp()))


@pytest.mark.parametrize("kind", [tuple, list, lambda pair: Batch(*pair)])
def test_a_batch_is_a_tuple_a_list_or_a_namedtuple(kind):
    batches = [kind((torch.ones(6, 8), torch.ones(6, 4)))]
    assert len(train(nn.Linear(8, 4), batches, nn.functional.mse_loss, steps=2, progress=False)) == 2


def test_targets_may_be_nested():
    nested = [(inputs, {"y": [targets]}) for inputs, targets in data()]
    model = awake(LoRAModel(mlp()))
    losses = [s.loss for s in training_steps(model, nested, lambda out, t: mse(out, t["y"][0]), lr=1e-2, steps=7)]
    assert losses == [s.loss for s in training_steps(awake(LoRAModel(mlp())), data(), mse, lr=1e-2, steps=7)]


def test_batches_start_over_at_their_end(model):
    seen = []

    class Again:
        def __iter__(self):
            seen.append("again")
            return iter(data(2))

    train(model, Again(), mse, steps=5, progress=False)
    assert seen == ["again"] * 3


def test_no_batches_are_refused(model):
    with pytest.raises(ValueError, match="no batches.*at least one"):
        train(model, [], mse, progress=False)
