"""The contenders: each is what its entry says, starts as the base, and leaves the base as it was."""

from lora_teach.bases import load_digit_net
from lora_teach.bases.quantized import QuantizedLinear
from lora_teach.datasets import digits
from lora_teach.measure.random_update import random_like, with_random_updates
from lora_teach.measure.retraining import HIDDEN, retrain
from lora_teach.measure.separate_rates import train_separate_rates
from lora_teach.measure.tuning import count_trainable
from lora_teach.measure.variants import CONTENDERS, RANDOM_START, RATIO, on_digits, optimizer, ready

import pytest
import torch

TURNED = digits.rotated(90)


@pytest.fixture(scope="module")
def base():
    return load_digit_net()


@pytest.mark.parametrize("contender", CONTENDERS)
def test_a_contender_starts_as_the_base_and_leaves_it_as_it_was(base, contender):
    before = {name: value.clone() for name, value in base.state_dict().items()}
    model = ready(base, contender, target_modules=HIDDEN)
    x = TURNED.test[0][:20]
    far = 0.2 if "bits" in CONTENDERS[contender] else 1e-4  # four bits are not exact
    assert torch.allclose(model(x), base(x), atol=far * base(x).abs().max().item())
    run = on_digits(contender, TURNED, base, 0.01, steps=3)
    assert run.loss[-1] == run.loss[-1] and not run.blew_up
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())


def test_plain_lora_is_the_run_that_retrain_makes_and_lora_plus_has_two_rates(base):
    assert on_digits("LoRA", TURNED, base, 0.01, steps=5).loss == retrain(TURNED, 8, lr=0.01, alpha=8, steps=5).loss
    plus = train_separate_rates(TURNED, 8, lr_A=0.001, lr_B=RATIO * 0.001, steps=5)
    assert on_digits("LoRA+", TURNED, base, 0.001, steps=5).loss == pytest.approx(plus.loss)
    groups = optimizer(ready(base, "LoRA+", target_modules=HIDDEN), "LoRA+", 0.001).param_groups
    assert [group["lr"] for group in groups] == [0.001, RATIO * 0.001]


def test_dora_has_at_most_as_many_numbers_as_plain_lora(base):
    counts = {name: count_trainable(ready(base, name, target_modules=HIDDEN)) for name in ("LoRA", "DoRA", "LoRA+")}
    assert 0.9 * counts["LoRA"] < counts["DoRA"] <= counts["LoRA"] == counts["LoRA+"]


def test_qlora_quantises_the_adapted_layers_alone(base):
    model = ready(base, "QLoRA", target_modules=HIDDEN).base_model
    assert [isinstance(getattr(model, name), QuantizedLinear) for name in (*HIDDEN, "output")] == [True, True, False]


def test_the_turned_start_has_pissas_sizes_and_other_directions(base):
    own, turned = (ready(base, name, target_modules=HIDDEN).lora_layers for name in ("PiSSA", RANDOM_START))
    for path, layer in own.items():
        one, other = (each.start_A @ each.start_B for each in (layer, turned[path]))  # (in, out)
        assert torch.allclose(torch.linalg.svdvals(one)[:8], torch.linalg.svdvals(other)[:8], rtol=1e-4)
        assert (one * other).sum().abs() < 0.2 * one.norm() * other.norm() and turned[path].is_zero()


def test_a_random_update_has_norm_and_rank_and_changes_nothing_else(base):
    run = on_digits("LoRA", TURNED, base, 0.01, steps=5)
    moved = with_random_updates(base, run.model, seed=3)
    for path, layer in run.model.lora_layers.items():
        change = moved.get_submodule(path).weight - base.get_submodule(path).weight
        assert change.norm().item() == pytest.approx(layer.delta_weight().norm().item(), rel=1e-3)
        assert torch.linalg.matrix_rank(change.double(), rtol=1e-3) == 8
    assert torch.equal(moved.output.weight, base.output.weight)
    assert torch.linalg.matrix_rank(random_like(torch.ones(6, 5))) == 5
    assert not torch.equal(moved.hidden1.weight, with_random_updates(base, run.model, seed=4).hidden1.weight)
