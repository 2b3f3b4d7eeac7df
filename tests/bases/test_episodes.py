"""What a model writes for a reward: fair draws, and targets for what it wrote itself, no more."""

from lora_teach import LoRAModel, train
from lora_teach.bases import load_name_gpt
from lora_teach.bases.episodes import CompletionWriter, NameWriter
from lora_teach.datasets.names import MAX_LETTERS, encode
from lora_teach.loop.rewards import IGNORED, Rollouts
from lora_teach.utils.evaluating import evaluating
from tests.tiny_language_model import tiny_model, word_tokenizer

import pytest
import torch
from torch import nn


@pytest.fixture
def tokenizer():
    return word_tokenizer()


def writer(tokenizer, prompts=("what is red", "sky ?"), **options):
    return CompletionWriter(tokenizer, prompts, lambda text: tokenizer(text)["input_ids"], **options)


def test_names_are_one_group_and_their_letters_and_end_count():
    episodes = NameWriter(20)(load_name_gpt())
    assert len(episodes.texts) == 20 and episodes.group is None and episodes.prompts is None
    for name, inputs, targets in zip(episodes.texts, episodes.inputs, episodes.targets, strict=True):
        one, other = (side[0] for side in encode([name]))
        seen = targets != IGNORED
        assert 1 <= len(name) <= MAX_LETTERS
        assert torch.equal(inputs[: len(one)][: len(targets)], one)
        assert torch.equal(targets[seen], other[: seen.sum()]) and seen.sum() == len(name) + 1


class Endless(nn.Module):
    """Writes nothing but a."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(56).index_fill(0, torch.tensor([1]), 50.0))

    def forward(self, tokens):
        return self.logits.expand(*tokens.shape, -1)


def test_a_name_that_is_cut_has_no_end_that_counts():
    episodes = NameWriter(2)(Endless())
    assert episodes.texts == ["a" * MAX_LETTERS] * 2
    assert (episodes.targets == IGNORED).sum(1).tolist() == [1, 1] and (episodes.targets[:, -1] == IGNORED).all()


def test_names_are_fair_draws():
    model = load_name_gpt()
    torch.manual_seed(0)
    first = [name[0] for name in NameWriter(2000)(model).texts]
    with torch.no_grad():
        likely = model(torch.zeros(1, 1, dtype=torch.long))[0, -1].softmax(-1)
    for letter, token in (("a", 1), ("j", 10), ("m", 13)):
        assert first.count(letter) / 2000 == pytest.approx(likely[token].item(), abs=0.025)


def test_completions_count_up_to_their_end_and_prompts_do_not(tokenizer):
    episodes = writer(tokenizer, size=6, max_new_tokens=5)(tiny_model())
    assert episodes.inputs.shape == episodes.targets.shape and len(episodes.inputs) == 12 and episodes.group == 6
    assert episodes.prompts == ["what is red"] * 6 + ["sky ?"] * 6
    for text, prompt, inputs, targets in zip(
        episodes.texts, episodes.prompts, episodes.inputs, episodes.targets, strict=True
    ):
        asked = tokenizer(prompt)["input_ids"]
        seen = torch.nonzero(targets != IGNORED).flatten().tolist()
        assert seen == list(range(len(asked) - 1, len(asked) - 1 + len(seen))) and 1 <= len(seen) <= 5
        whole = [*inputs[: len(asked)].tolist(), *targets[seen].tolist()]
        assert whole[: len(asked)] == asked
        assert whole[1 : len(asked) + len(seen) - 1] == inputs[1 : len(asked) + len(seen) - 1].tolist()
        ids = [token for token in targets[seen].tolist() if token != tokenizer.eos_token_id]
        assert text == tokenizer.decode(ids, skip_special_tokens=True)
        assert len(seen) == 5 or targets[seen[-1]] == tokenizer.eos_token_id
    assert len(set(episodes.texts)) > 3  # sampled


def test_prompts_are_taken_in_turn(tokenizer):
    write, model = writer(tokenizer, ("red", "sky", "fire"), size=2, max_new_tokens=1, at_once=2), tiny_model()
    asked = [write(model).prompts[::2] for _ in range(3)]
    assert asked == [["red", "sky"], ["fire", "red"], ["sky", "fire"]]


def test_draws_are_fair_whatever_the_generation_config_would_rather_do(tokenizer):
    model = tiny_model()
    model.generation_config.update(top_k=1, temperature=0.1, repetition_penalty=3.0, do_sample=False)
    found = model.generation_config
    torch.manual_seed(0)
    episodes = writer(tokenizer, ["what is"], size=600, max_new_tokens=1)(model)
    assert model.generation_config is found
    with torch.no_grad():
        likely = model(torch.tensor([tokenizer("what is")["input_ids"]])).logits[0, -1].softmax(-1)
    tokens = episodes.targets[:, -1]
    for token in likely.topk(3).indices:
        assert (tokens == token).float().mean().item() == pytest.approx(likely[token].item(), abs=0.06)


def test_a_language_model_learns_from_a_reward_and_its_base_stays_where_it_was(tokenizer):
    model, base = LoRAModel(tiny_model(), rank=2), tiny_model()
    write = writer(tokenizer, size=16, max_new_tokens=4)
    rollouts = Rollouts(model, write, lambda text, prompt: "green" in text, kl=0.01, form="grpo")
    history = train(model, rollouts, rollouts.loss, lr=2e-2, steps=15, progress=False)
    rewards = [score.reward for score in rollouts.history]
    assert sum(rewards[-3:]) > sum(rewards[:3]) + 0.6 and len(history) == 15
    for before, after in zip(base.parameters(), model.base_model.parameters(), strict=True):
        assert torch.equal(before, after)
    assert rollouts.history[0].kl == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("options", [{"size": 0}, {"max_new_tokens": 0}, {"at_once": 0}, {"prompts": []}])
def test_writers_without_work_are_refused(tokenizer, options):
    with pytest.raises(ValueError, match="at least 1|no prompts"):
        writer(tokenizer, **options)
    with pytest.raises(ValueError, match="count=0 is too small"):
        NameWriter(0)


def test_evaluating_restores_each_modules_own_mode():
    model = nn.Sequential(nn.Dropout(), nn.Dropout()).train()
    model[1].eval()
    with evaluating(model):
        assert not model.training and not model[0].training and not torch.is_grad_enabled()
    assert model.training and model[0].training and not model[1].training and torch.is_grad_enabled()
