"""What a run did, and the error that ends it."""

import pickle

from lora_teach import History, NonFiniteLoss, Step, train

import pytest
import torch
from torch import nn


def test_a_history_has_one_entry_a_step():
    history = History()
    history.add(Step(1, 2.5, 0.01, 0.2))
    history.add(Step(2, 1.5, 0.02, 0.3))
    assert len(history) == 2 and history.stopped is None
    assert (history.loss, history.lr, history.seconds) == ([2.5, 1.5], [0.01, 0.02], [0.2, 0.3])


def test_a_loss_that_is_not_finite_is_told_in_another_process_too():
    batches = [(torch.ones(6, 8), torch.full((6, 4), float("nan")))]
    with pytest.raises(NonFiniteLoss) as caught:
        train(nn.Linear(8, 4), batches, nn.functional.mse_loss, progress=False)
    assert NonFiniteLoss("a message", 3).history == History()
    caught.value.history.loss.append(1.5)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.step, copy.history) == (str(caught.value), 1, caught.value.history)
