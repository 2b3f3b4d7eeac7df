"""DigitNet and its shipped checkpoint."""

from lora_teach.bases import DigitNet, accuracy, load_digit_net
from lora_teach.datasets import digits, shipped

import pytest
import torch


def test_shapes_and_layers():
    model = DigitNet()
    assert model(torch.zeros(5, 64)).shape == (5, 10)
    assert [name for name, _ in model.named_children()] == ["hidden1", "hidden2", "output"]
    assert sum(parameter.numel() for parameter in model.parameters()) == 26_122


def test_the_seed_decides_the_start_and_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    assert torch.equal(DigitNet(seed=1).hidden1.weight, DigitNet(seed=1).hidden1.weight)
    assert not torch.equal(DigitNet(seed=1).hidden1.weight, DigitNet(seed=2).hidden1.weight)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_shipped_checkpoint_reads_upright_digits_and_hardly_any_others():
    model = load_digit_net()
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert accuracy(model, *digits.upright().test) > 0.95
    assert 0.2 < accuracy(model, *digits.rotated(30).test) < 0.7
    assert accuracy(model, *digits.rotated(90).test) < 0.3
    assert accuracy(model, *digits.inverted().test) < 0.3


def test_accuracy_counts_right_answers():
    model = load_digit_net()
    x, y = digits.upright().test
    right = model(x).argmax(-1)
    assert accuracy(model, x, right) == 1.0
    assert accuracy(model, x, (right + 1) % 10) == 0.0
    assert accuracy(model, x, y) == pytest.approx((right == y).sum().item() / 300)


def test_a_missing_checkpoint_names_the_command_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "DATA", tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="digit_net.safetensors is missing.*python data/make_bases.py"):
        load_digit_net()
