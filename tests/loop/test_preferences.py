"""Direct preference optimisation: the loss, its gradient, and what the implicit reward says."""

import math

from lora_teach import LoRAModel, train, training_steps
from lora_teach.bases import load_name_gpt
from lora_teach.datasets import names
from lora_teach.loop.preferences import Preferences
from tests.loop.test_rewards import learned

import pytest
import torch

PAIRS = [("aino", "kim"), ("eero", "ashley"), ("pekka", "jo"), ("ilmari", "bob"), ("a", "brendan")]


def log_probability(model, name):
    """Of a whole name, a letter at a time."""
    letters, total = [0, *(names.ALPHABET.index(letter) for letter in name), 0], 0.0
    for place in range(1, len(letters)):
        total = total + model(torch.tensor([letters[:place]]))[0, -1].log_softmax(-1)[letters[place]]
    return total


def slowly(model, base, pairs, beta):
    losses = []
    for preferred, other in pairs:
        ratios = [log_probability(model, name) - log_probability(base, name) for name in (preferred, other)]
        losses.append(-torch.log(1 / (1 + torch.exp(-beta * (ratios[0] - ratios[1])))))
    return sum(losses) / len(losses)


def test_loss_and_gradients_equal_a_slow_obvious_implementation():
    model, base = learned(torch.float64), load_name_gpt().double()
    preferences = Preferences(model, PAIRS, names.encode, beta=0.3, batch_size=5)
    ((inputs, targets),) = preferences
    loss = preferences.loss(model(inputs), targets)
    loss.backward()
    ours = [parameter.grad.clone() for parameter in model.lora_layers.parameters()]
    model.zero_grad()
    slow = slowly(model, base, PAIRS, 0.3)
    slow.backward()
    assert loss.item() == pytest.approx(slow.item(), rel=1e-12)
    for one, parameter in zip(ours, model.lora_layers.parameters(), strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, parameter.grad, rtol=1e-9, atol=1e-12)


def test_a_new_adapter_has_the_loss_of_a_coin_and_no_implicit_reward():
    model = LoRAModel(load_name_gpt(), rank=2)
    preferences = Preferences(model, PAIRS, names.encode)
    for inputs, targets in preferences:
        assert preferences.loss(model(inputs), targets).item() == pytest.approx(math.log(2), abs=1e-6)
    assert preferences.implicit_rewards(["aino", "kim"]) == [0, 0]


def test_training_moves_the_adapter_alone_and_prefers_what_was_preferred():
    model, base = LoRAModel(load_name_gpt(), rank=2), load_name_gpt()
    preferences = Preferences(model, PAIRS, names.encode, batch_size=2)
    assert len(preferences) == 3
    history = train(model, preferences, preferences.loss, lr=3e-3, steps=12, progress=False)
    assert history.loss[-1] < history.loss[0] - 0.1
    for preferred, other in PAIRS:
        first, second = preferences.implicit_rewards([preferred, other])
        assert first > second
    for before, after in zip(base.parameters(), model.base_model.parameters(), strict=True):
        assert torch.equal(before, after)


def test_the_implicit_reward_is_beta_times_the_log_of_how_much_likelier_a_name_became():
    model, base = learned(torch.float64), load_name_gpt().double()
    preferences = Preferences(model, PAIRS, names.encode, beta=0.2)
    expected = 0.2 * (log_probability(model, "aino") - log_probability(base, "aino")).item()
    model.train()
    assert preferences.implicit_rewards(["aino", "ilmarinen"])[0] == pytest.approx(expected, rel=1e-9)
    assert model.training


def test_full_fine_tuning_needs_a_copy_as_reference():
    model = load_name_gpt().requires_grad_(True)
    with pytest.raises(ValueError, match="no adapter to turn off.*reference="):
        Preferences(model, PAIRS, names.encode)
    preferences = Preferences(model, PAIRS, names.encode, reference=load_name_gpt())
    history = train(model, preferences, preferences.loss, lr=1e-3, steps=3, progress=False)
    assert history.loss[-1] < history.loss[0]


def test_a_killed_run_is_resumed(tmp_path):
    def run(folder, steps=4):
        torch.manual_seed(0)
        model = LoRAModel(load_name_gpt(), rank=1)
        preferences = Preferences(model, PAIRS, names.encode, batch_size=2)
        options = {"lr": 1e-2, "steps": 4, "checkpoint": tmp_path / folder, "checkpoint_every": 1}
        for step in training_steps(model, preferences, preferences.loss, **options):
            if step.index == steps:
                return preferences.implicit_rewards(["aino"])

    run("killed", steps=2)
    assert run("killed") == run("whole") != [0]


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([], "there are no pairs"),
        ([("aino",)], r"\('aino',\) is no pair"),
        (["aino"], r"is no pair"),
        ([("aino", "aino")], "both texts of a pair are 'aino'"),
    ],
)
def test_pairs_of_which_nothing_can_be_learnt_are_refused(pairs, said):
    with pytest.raises(ValueError, match=said):
        Preferences(learned(), pairs, names.encode)


@pytest.mark.parametrize("beta", [0, -1, float("nan")])
def test_a_beta_that_is_not_above_0_is_refused(beta):
    with pytest.raises(ValueError, match="it must be finite and above 0"):
        Preferences(learned(), PAIRS, names.encode, beta=beta)


def test_an_encode_that_masks_everything_is_refused():
    def masked(texts):
        inputs, targets = names.encode(texts)
        return inputs, torch.full_like(targets, -100)

    with pytest.raises(ValueError, match="no target that counts"):
        Preferences(learned(), PAIRS, masked)


def test_an_encode_that_is_no_function_and_a_seed_that_is_no_number_are_refused():
    with pytest.raises(TypeError, match="encode='names' is no function. Give one, such as lora_teach.datasets.names"):
        Preferences(learned(), PAIRS, "names")
    with pytest.raises(ValueError, match="seed=1.5 is no whole number"):
        Preferences(learned(), PAIRS, names.encode, seed=1.5)
