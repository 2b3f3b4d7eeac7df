"""Operations are counted through forward and backward, and LoRA makes more of them."""

from lora_teach import LoRAModel
from lora_teach.bases import NameGPT, name_loss
from lora_teach.measure.calls import count_calls

import pytest
import torch

TOKENS = torch.arange(24).reshape(2, 12)


def backward(model):
    return lambda: name_loss(model(TOKENS), TOKENS).backward()


def test_the_backward_is_counted_too():
    x = torch.ones(4, requires_grad=True)
    assert count_calls(lambda: (x * x).sum()) == 2
    assert count_calls(lambda: (x * x).sum().backward()) > 4


def test_what_is_counted_comes_out_unchanged():
    weight, other = torch.randn(4, 3), []
    count_calls(lambda: other.append(weight @ weight.T))
    assert torch.equal(other[0], weight @ weight.T)


def test_an_error_ends_the_counting():
    with pytest.raises(RuntimeError):
        count_calls(lambda: torch.ones(2) @ torch.ones(3))
    assert count_calls(lambda: torch.ones(2) + 1) == 2


def test_a_lora_step_makes_more_calls_than_a_full_one():
    plain, adapted = NameGPT(), LoRAModel(NameGPT(), rank=8)
    forward = [count_calls(lambda model=model: model(TOKENS)) for model in (plain, adapted)]
    assert forward[1] - forward[0] >= 2 * 18  # two products beside each of 18 layers, at least
    assert count_calls(backward(adapted)) > count_calls(backward(plain))
