"""Learning from a reward: the gradient is the policy gradient, the reference is the adapter turned off."""

import gc

from lora_teach import LoRAModel, train, training_steps
from lora_teach.bases import load_name_gpt
from lora_teach.bases.episodes import NameWriter
from lora_teach.datasets import names
from lora_teach.loop.rewards import IGNORED, Episodes, Rollouts, group_advantages, reference_log_probs, token_log_probs

import numpy as np
import pytest
import torch
from torch import nn

WRITTEN = ["aino", "al", "kim", "ilmarinen", "a", "eero"]
REWARDS = dict(zip(WRITTEN, [1.0, 0.0, 0.5, 2.0, 0.0, 1.0], strict=True))


def learned(dtype=torch.float32):
    """NameGPT with an adapter that has moved."""
    torch.manual_seed(0)
    model = LoRAModel(load_name_gpt().to(dtype), rank=2)
    with torch.no_grad():
        for layer in model.lora_layers.values():
            layer.lora_B.normal_(std=0.05)
    return model


def written(model):
    return Episodes(WRITTEN, *names.encode(WRITTEN), group=3)


def count_of_a(name):
    return min(name.count("a"), 3)


def slowly(model, form, kl):
    """The loss, a text, a letter and a probability at a time."""
    total = 0.0
    for number, name in enumerate(WRITTEN):
        group = [REWARDS[other] for other in WRITTEN[number // 3 * 3 :][:3]]
        advantage = REWARDS[name] - sum(group) / 3
        if form == "grpo":
            advantage /= (sum((one - sum(group) / 3) ** 2 for one in group) / 2) ** 0.5 + 1e-4
        letters, of_name = [0, *(names.ALPHABET.index(letter) for letter in name), 0], 0.0
        for place in range(1, len(letters)):
            read = torch.tensor([letters[:place]])
            probability = model(read)[0, -1].softmax(-1)[letters[place]]
            with model.disabled():
                before = model(read)[0, -1].softmax(-1)[letters[place]].detach()
            # advantage · ∇ log π, and the unbiased gradient of the divergence: (log π − log π_ref) ∇ log π
            of_name = of_name + (advantage - kl * (probability / before).log().detach()) * probability.log()
        total = total - of_name / (len(letters) - 1 if form == "grpo" else 1)
    return total / len(WRITTEN)


@pytest.mark.parametrize("kl", [0.0, 0.4])
@pytest.mark.parametrize("form", ["reinforce", "grpo"])
def test_gradients_equal_a_slow_obvious_implementation(form, kl):
    model = learned(torch.float64)
    rollouts = Rollouts(model, written, REWARDS.get, kl=kl, form=form)
    inputs, targets = rollouts.batch()
    rollouts.loss(model(inputs), targets).backward()
    ours = [parameter.grad.clone() for parameter in model.lora_layers.parameters()]
    model.zero_grad()
    slowly(model, form, kl).backward()
    for one, parameter in zip(ours, model.lora_layers.parameters(), strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, parameter.grad, rtol=1e-6, atol=1e-9)  # rewards are float32


class Policy(nn.Module):
    """Writes two tokens of three kinds; few enough texts to take every one of them with its probability."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))

    def forward(self, inputs):
        return self.table[inputs]  # (batch, 2, 3); token 3 is the start


def test_the_mean_over_all_texts_is_the_gradient_of_the_expected_reward():
    model = Policy()
    texts = [(first, second) for first in range(3) for second in range(3)]
    rewards = {str(text): float(number % 4) for number, text in enumerate(texts)}

    def probability(text):
        return model.table[3].softmax(0)[text[0]] * model.table[text[0]].softmax(0)[text[1]]

    (expected,) = torch.autograd.grad(sum(probability(text) * rewards[str(text)] for text in texts), model.table)
    total = torch.zeros_like(model.table)
    for one in texts:
        for other in texts:
            pair = torch.tensor([one, other])
            inputs = torch.stack([torch.full((2,), 3), pair[:, 0]], dim=1)
            rollouts = Rollouts(model, lambda model: Episodes([str(one), str(other)], inputs, pair), rewards.get)  # noqa: B023
            if rewards[str(one)] != rewards[str(other)]:
                inputs, targets = rollouts.batch()
                (gradient,) = torch.autograd.grad(rollouts.loss(model(inputs), targets), model.table)
                total -= gradient * probability(one).detach() * probability(other).detach()
    # each text's own reward is half of the baseline, which shortens the step and does not turn it
    torch.testing.assert_close(total, expected / 2)


def test_the_loss_is_minus_the_mean_reward_plus_the_penalty_and_the_scores_tell_both():
    model = learned()
    rollouts = Rollouts(model, written, REWARDS.get, kl=0.4)
    inputs, targets = rollouts.batch()
    loss = rollouts.loss(model(inputs), targets)
    with torch.no_grad():
        now = token_log_probs(model(inputs), targets["tokens"]).sum(1)
        kl = (now - reference_log_probs(model, None, inputs, targets["tokens"]).sum(1)).mean().item()
    assert loss.item() == pytest.approx(-0.75 + 0.4 * kl, abs=1e-5) and kl != 0
    (score,) = rollouts.history
    assert (score.reward, score.distinct) == (0.75, 1.0) and score.kl == pytest.approx(kl, abs=1e-5)


def test_advantages_are_taken_within_each_group():
    rewards = torch.tensor([[1.0, 0, 0, 1], [5, 5, 5, 5]])
    assert group_advantages(rewards).tolist() == [[0.5, -0.5, -0.5, 0.5], [0, 0, 0, 0]]
    scaled = group_advantages(rewards, "grpo")
    assert scaled[0].std().item() == pytest.approx(1, abs=1e-3) and not scaled[1].any()


def test_targets_that_the_model_did_not_write_count_nothing():
    logits, targets = torch.randn(2, 3, 5), torch.tensor([[1, 2, IGNORED], [IGNORED, 4, 0]])
    found = token_log_probs(logits, targets)
    assert found[0, 2] == 0 and found[1, 0] == 0
    assert found[1, 1].item() == pytest.approx(logits.log_softmax(-1)[1, 1, 4].item())


def test_the_reference_is_the_base_to_the_bit_and_takes_no_memory():
    model, base = learned(), load_name_gpt()
    before = held()
    rollouts = Rollouts(model, written, REWARDS.get, kl=0.1)
    inputs, targets = rollouts.batch()
    new = held() - before
    batch = {id(tensor): tensor for tensor in (inputs, *targets.values(), rollouts.rewards, rollouts.last.inputs)}
    random = sum(state.nbytes for state in rollouts._random.inside + rollouts._random.outside if state is not None)
    assert new <= sum(tensor.nbytes for tensor in batch.values()) + random  # the batch, and nothing besides
    with torch.no_grad():
        assert torch.equal(targets["reference"], token_log_probs(base(inputs), targets["tokens"]))
    weights = sum(parameter.nbytes for parameter in base.parameters())
    before = held()
    copied = Rollouts(model, written, REWARDS.get, kl=0.1, reference=load_name_gpt())
    assert held() - before >= weights > 100 * new
    assert torch.equal(copied.batch()[1]["reference"], targets["reference"])


KINDS = (torch.Tensor, torch.nn.Parameter)  # no fake ones, which other tests may have left


def held():
    """Bytes of all tensors that Python holds, each storage once."""
    gc.collect()
    tensors = [one for one in gc.get_objects() if type(one) in KINDS and one.layout is torch.strided]
    return sum({one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}.values())


def test_only_the_adapter_moves_and_the_reward_rises():
    model, base = LoRAModel(load_name_gpt(), rank=1), load_name_gpt()
    rollouts = Rollouts(model, NameWriter(24), count_of_a, kl=0.01)
    model.train()
    history = train(model, rollouts, rollouts.loss, lr=1e-2, steps=10, progress=False)
    for before, after in zip(base.parameters(), model.base_model.parameters(), strict=True):
        assert torch.equal(before, after)
    rewards = [score.reward for score in rollouts.history]
    assert sum(rewards[-3:]) > sum(rewards[:3]) + 0.6 and len(history) == len(rewards) == 10
    assert history.loss[-1] < history.loss[0] and model.training


def test_full_fine_tuning_learns_from_a_reward_with_a_copy_as_reference():
    model = load_name_gpt().requires_grad_(True)
    with pytest.raises(ValueError, match="NameGPT has no adapter to turn off.*reference="):
        Rollouts(model, NameWriter(8), count_of_a, kl=0.1)
    rollouts = Rollouts(model, NameWriter(8), count_of_a, kl=0.1, reference=load_name_gpt())
    for _ in training_steps(model, rollouts, rollouts.loss, lr=1e-3, steps=2):
        pass
    assert rollouts.history[0].kl == pytest.approx(0, abs=1e-4) and rollouts.history[1].kl is not None


def test_without_a_reference_the_divergence_is_unknown():
    model = load_name_gpt()
    rollouts = Rollouts(model, NameWriter(8), len)
    inputs, targets = rollouts.batch()
    rollouts.loss(model(inputs), targets)
    assert "reference" not in targets and rollouts.history[0].kl is None


def test_the_seed_decides_what_is_written_and_your_random_numbers_are_left_alone():
    model = learned()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, same, other = (Rollouts(model, NameWriter(4), len, seed=seed) for seed in (1, 1, 2))
    for one in (first, same, other):
        one.batch()
    assert torch.equal(torch.rand(1), expected)
    assert first.last.texts == same.last.texts != other.last.texts
    first.batch()
    assert first.last.texts != same.last.texts  # the next ones


def test_it_writes_in_eval_mode_and_without_gradients():
    model, seen = learned().train(), []

    def write(model):
        seen.append((model.training, torch.is_grad_enabled()))
        return written(model)

    Rollouts(model, write, REWARDS.get).batch()
    assert seen == [(False, False)] and all(module.training for module in model.modules())


def test_prompts_are_given_to_the_reward():
    asked = []

    def reward(text, prompt):
        asked.append((text, prompt))
        return len(text)

    prompts = [*"xxxyyy"]
    episodes = Episodes(WRITTEN, *names.encode(WRITTEN), group=3, prompts=prompts)
    Rollouts(learned(), lambda model: episodes, reward).batch()
    assert asked == list(zip(WRITTEN, prompts, strict=True))


def test_equal_rewards_in_the_first_batch_are_warned_of():
    rollouts = Rollouts(learned(), written, lambda name: 0)
    with pytest.warns(UserWarning, match="3 rewards of each group are equal .the first: 0., so nothing is learnt"):
        inputs, targets = rollouts.batch()
    loss = rollouts.loss(rollouts.model(inputs), targets)
    loss.backward()
    assert not any(parameter.grad.any() for parameter in rollouts.model.lora_layers.parameters())


@pytest.mark.parametrize(
    ("reward", "error", "said"),
    [
        (lambda name: "good", TypeError, "the reward of 'aino' is 'good', which is no number"),
        (lambda name: None, TypeError, "the reward of 'aino' is None"),
        (lambda name: float("nan"), ValueError, "the reward of 'aino' is nan, which is not finite"),
        (lambda name: torch.tensor([1.0, 2.0]), TypeError, "which is no number"),
        (lambda name: 10**400, ValueError, "the reward of 'aino' is 1000.*, which is not finite"),
    ],
)
def test_a_reward_that_is_no_finite_number_is_refused(reward, error, said):
    with pytest.raises(error, match=said):
        Rollouts(learned(), written, reward).batch()


def test_rewards_may_be_bools_and_tensors_and_arrays_of_one_number():
    given = {"al": torch.tensor(1.0), "kim": True, "a": np.bool_(True), "eero": np.float32(2)}
    rollouts = Rollouts(learned(), written, lambda name: given.get(name, 0))
    rollouts.batch()
    assert rollouts.rewards.tolist() == [0, 1, 1, 0, 1, 2]


def test_a_reference_in_training_mode_is_asked_in_eval_mode():
    modes = []

    class Reference(nn.Module):
        def forward(self, inputs):
            modes.append(self.training)
            return torch.zeros(*inputs.shape, 56)

    reference = Reference().train()
    Rollouts(learned(), written, REWARDS.get, kl=0.1, reference=reference).batch()
    assert modes == [False] and reference.training


@pytest.mark.parametrize("group", [1, 4])
def test_groups_that_can_not_be_compared_are_refused(group):
    episodes = Episodes(WRITTEN, *names.encode(WRITTEN), group=group)
    with pytest.raises(ValueError, match=f"6 texts in groups of {group}.*at least 2"):
        Rollouts(learned(), lambda model: episodes, len).batch()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"kl": -0.1}, ValueError, "kl=-0.1 is out of range: it must be finite and 0 or more"),
        ({"kl": float("inf")}, ValueError, "kl=inf"),
        ({"kl": "much"}, TypeError, "kl='much' is not a number"),
        ({"form": "ppo"}, ValueError, "form='ppo' is unknown. Use one of: 'reinforce', 'grpo'"),
        ({"seed": "0"}, ValueError, "seed='0' is no whole number"),
        ({"reward": 1.0}, TypeError, "reward=1.0 is no function. Give one, such as lambda text"),
        ({"write": ["aino"]}, TypeError, r"write=\['aino'\] is no function. Give one, such as NameWriter"),
    ],
)
def test_settings_that_can_not_be_meant_are_refused(options, error, said):
    with pytest.raises(error, match=said):
        Rollouts(learned(), **{"write": written, "reward": len} | options)


def test_a_run_with_a_checkpoint_is_not_resumed_since_its_batches_were_another_models(tmp_path):
    def run(steps):
        model = LoRAModel(load_name_gpt(), rank=1)
        rollouts = Rollouts(model, NameWriter(8), count_of_a)
        options = {"lr": 0.05, "steps": 4, "checkpoint": tmp_path, "checkpoint_every": 1}
        for step in training_steps(model, rollouts, rollouts.loss, **options):
            if step.index == steps:
                return

    torch.manual_seed(0)
    run(3)
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="of a run with other data"):
        run(4)
