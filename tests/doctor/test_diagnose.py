"""What a diagnosis costs, that it changes no bit, and that it speaks as `train` does."""

import copy
import pickle
import random
import re
import warnings

from lora_teach import LoRAModel, NonFiniteLoss, train
from lora_teach.doctor import FAULTS, diagnose
from lora_teach.loop.words import WORDS
from tests.doctor.setups import ORIGINS, TARGETS, setup
from tests.doctor.test_healthy import trained
from tests.toy import picture, same_picture

import numpy as np
import pytest
import torch
from torch import nn

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


def everything(one):
    """All that a diagnosis must leave, to the last bit."""
    state = one.optimizer.state_dict()
    return {
        "gradients": {n: None if p.grad is None else p.grad.clone() for n, p in one.model.named_parameters()},
        "whose": {n: id(p.grad) for n, p in one.model.named_parameters()},
        "storage": {n: p.data_ptr() for n, p in one.model.named_parameters()},
        "optimizer": pickle.dumps({k: list(s.values()) for k, s in state["state"].items()}),
        "groups": str(state["param_groups"]),
        "batch": pickle.dumps(one.batch),
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": str(np.random.get_state()),
    }


def equal(left, right):
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    return torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("architecture", TARGETS)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_diagnosis_changes_no_bit(architecture, origin, training):
    options = {"lora_dropout": 0.3} if origin == "peft" else {"dropout": 0.3}
    norm = {"norm": nn.BatchNorm1d(16)} if architecture == "plain" else {}
    one = trained(setup(architecture, origin, base_options=norm, **options))
    loss = one.model(**one.batch).loss if one.loss_fn is None else one.loss_fn(one.model(one.batch[0]), one.batch[1])
    loss.backward()  # gradients that were there before stay
    one.model.train(training)
    next(one.model.children()).train(not training)  # modes that differ from place to place stay so
    found, seen = everything(one), picture(one.model)
    diagnosis = diagnose(one.model, **one.given())
    for name, before, after in ((key, found[key], now) for key, now in everything(one).items()):
        assert equal(before, after), f"{name} changed"
    assert same_picture(seen, picture(one.model))
    assert "loss" in diagnosis.looked_at


def test_nothing_changes_where_the_model_raises():
    one = setup("plain", "ours")
    seen = picture(one.model)
    with pytest.raises(RuntimeError):
        diagnose(one.model, one.optimizer, (torch.ones(2, 99), torch.zeros(2, dtype=torch.int64)), one.loss_fn)
    assert same_picture(seen, picture(one.model))


def test_a_diagnosis_calls_the_model_twice_and_differentiates_once():
    """A training step is about three forward passes, so this is under two steps."""
    one = setup("names", "ours")
    calls = []
    handle = one.model.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    assert diagnose(one.model, **one.given()).ok
    handle.remove()
    assert calls == [True, False]


def test_with_dropout_it_calls_the_model_three_times():
    one = setup("names", "ours", dropout=0.1)
    calls = []
    one.model.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    assert diagnose(one.model, **one.given()).ok
    assert calls == [True, False, False]


def found(one, fault):
    return next(f for f in diagnose(one.model, **one.given()).findings if f.fault == fault)


def merged(one):
    trained(one).model.merge()


def frozen(one):
    for p in one.model.parameters():
        p.requires_grad_(False)


def built_before(one):
    one.optimizer = torch.optim.AdamW(copy.deepcopy(one.model).parameters())


def broken(one):
    one.batch[0][0, 0] = float("nan")


def both_zero(one):
    for layer in one.model.lora_layers.values():
        nn.init.zeros_(layer.lora_A)


def no_alpha(one):
    one.model.set_alpha(0)


def unfrozen(one):
    one.model.base_model.head.bias.requires_grad_(True)
    one.model.base_model.fc1.bias.requires_grad_(True)
    one.rebuild()


def all_masked(one):
    one.batch = one.batch[0], torch.full_like(one.batch[1], -100)


@pytest.mark.parametrize("fault, inject", [
    ("merged_while_training", merged), ("nothing_trainable", frozen), ("optimizer_misses_adapters", built_before),
    ("non_finite", broken), ("both_factors_zero", both_zero), ("alpha_zero", no_alpha), ("base_not_frozen", unfrozen),
    ("labels_all_masked", all_masked),
])  # fmt: skip
def test_train_says_it_in_the_doctors_words(fault, inject):
    one = setup("plain", "ours")
    inject(one)
    finding = found(one, fault)
    with pytest.raises((RuntimeError, ValueError, NonFiniteLoss, UserWarning)) as raised, warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train(one.model, [one.batch], one.loss_fn, steps=2, optimizer=one.optimizer, progress=False)
    told, words = str(raised.value), WORDS[fault]
    longest = max(re.split(r"\{[^}]*\}", words.what), key=len)  # between the places for numbers
    assert longest in told and longest in finding.evidence
    assert fault == "non_finite" or words.cure in told
    assert finding.cure == words.cure


def test_every_fault_that_train_speaks_of_is_the_doctors_too():
    assert set(WORDS) <= set(FAULTS)
    for name, words in WORDS.items():
        assert FAULTS[name].cure == words.cure


def test_the_report_is_readable():
    one = setup("plain", "ours").rebuild(3.0)
    diagnosis = diagnose(one.model, **one.given())
    assert not diagnosis.ok
    assert str(diagnosis).startswith(
        "It blows up.\n  learning_rate_too_high: lr = 3: one step takes this batch's loss from "
    )
    assert "cure: " in str(diagnosis) and "Not given: history." in str(diagnosis)
    assert repr(diagnosis) == str(diagnosis)
    assert str(diagnose(setup("plain", "ours").model)).startswith("No fault found.\nLooked at: 2 of 2 adapted layers")


def test_what_has_no_adapter_is_said_so():
    diagnosis = diagnose(nn.Linear(3, 4))
    assert str(diagnosis).startswith("Found no adapter") and not diagnosis.ok
    with pytest.raises(TypeError, match="model is a str"):
        diagnose("model")
    with pytest.raises(TypeError, match="optimizer='adam' is no optimiser"):
        diagnose(nn.Linear(2, 2), "adam")
    with pytest.raises(TypeError, match="loss_fn='mse' is no function"):
        diagnose(nn.Linear(2, 2), None, (torch.ones(1, 2), torch.ones(1, 2)), "mse")


def test_a_wrapped_model_is_looked_into():
    one = setup("plain", "ours")
    one.model = nn.Sequential(one.model)
    assert diagnose(one.model, **one.given()).ok
    assert isinstance(one.model[0], LoRAModel)
