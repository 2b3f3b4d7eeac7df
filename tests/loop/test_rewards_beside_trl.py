"""The losses of GRPO and DPO, and their gradients, equal those of TRL, where that is installed."""

from lora_teach import LoRAModel
from lora_teach.loop.preferences import Preferences
from lora_teach.loop.rewards import Episodes, Rollouts, group_advantages, reference_log_probs
from tests.tiny_language_model import tiny_model, word_tokenizer

import pytest
import torch

trl = pytest.importorskip("trl")
datasets = pytest.importorskip("datasets")

pytestmark = pytest.mark.filterwarnings("ignore")  # other libraries' own, among each other
PROMPTS = [[3, 13, 5, 4], [3, 7, 4]]  # token ids
COMPLETIONS = [[8, 9, 1], [10, 1], [5, 6, 7, 1], [9, 9], [8, 1], [10, 11, 12, 13], [6, 1], [7, 5, 1]]
REWARDS = [1.0, 0.0, 0.5, 0.0, 1.0, 1.0, 0.0, 0.25]
GROUP = 4


def learned():
    """A tiny language model with an adapter that has moved, in float64."""
    torch.manual_seed(0)
    # Not the head: TRL reads its weight and never calls it, so an adapter there would do nothing.
    model = LoRAModel(tiny_model().double(), rank=2, exclude_modules=["lm_head"])
    with torch.no_grad():
        for layer in model.lora_layers.values():
            layer.lora_B.normal_(std=0.3)
    return model


def rows():
    """The prompt and completion of each text, as inputs and targets padded on the right."""
    whole = [(PROMPTS[number // GROUP], ids) for number, ids in enumerate(COMPLETIONS)]
    longest = max(len(a) + len(b) for a, b in whole)
    inputs = torch.zeros(len(whole), longest - 1, dtype=torch.long)
    targets = torch.full_like(inputs, -100)
    for row, (asked, ids) in enumerate(whole):
        inputs[row, : len(asked) + len(ids) - 1] = torch.tensor([*asked, *ids][:-1])
        targets[row, len(asked) - 1 : len(asked) + len(ids) - 1] = torch.tensor(ids)
    return inputs, targets


def padded(lists, left=False):
    """Token ids and mask as TRL takes them."""
    longest = max(map(len, lists))
    fill = [[0] * (longest - len(ids)) for ids in lists]
    ids = torch.tensor([blank + one if left else one + blank for blank, one in zip(fill, lists, strict=True)])
    ones = [[1] * len(one) for one in lists]
    return ids, torch.tensor([blank + one if left else one + blank for blank, one in zip(fill, ones, strict=True)])


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return [parameter.grad.clone() for parameter in model.lora_layers.parameters()]


@pytest.mark.parametrize("kl", [0.0, 0.3])
@pytest.mark.parametrize(("form", "loss_type"), [("grpo", "grpo"), ("reinforce", "luspo")])
def test_policy_gradients_are_trls(tmp_path, form, loss_type, kl):
    model = learned()
    inputs, targets = rows()
    episodes = Episodes([str(ids) for ids in COMPLETIONS], inputs, targets, GROUP)
    rewards = dict(zip(episodes.texts, REWARDS, strict=True))
    rollouts = Rollouts(model, lambda model: episodes, rewards.get, kl=kl, form=form)
    inputs, batch = rollouts.batch()
    ours = gradients(model, rollouts.loss(model(inputs), batch))

    options = trl.GRPOConfig(
        output_dir=str(tmp_path), use_cpu=True, report_to=[], beta=0.0, num_generations=GROUP, loss_type=loss_type,
        per_device_train_batch_size=len(COMPLETIONS), gradient_accumulation_steps=1, max_completion_length=8,
        bf16=False, gradient_checkpointing=False,
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        model.base_model, lambda completions, **others: [0.0] * len(completions), options,
        train_dataset=datasets.Dataset.from_dict({"prompt": ["what is red"] * 8}),
        processing_class=word_tokenizer(None),
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps, trainer.beta = 1, kl  # set later, it asks for no reference model
    prompt_ids, prompt_mask = padded([PROMPTS[number // GROUP] for number in range(8)], left=True)
    completion_ids, completion_mask = padded(COMPLETIONS)
    longest = completion_ids.shape[1]
    old = torch.zeros(len(COMPLETIONS), longest, dtype=torch.float64)
    log_probs = reference_log_probs(model, None, inputs, targets)
    for row, ids in enumerate(COMPLETIONS):
        start = len(PROMPTS[row // GROUP]) - 1
        old[row, : len(ids)] = log_probs[row, start : start + len(ids)]
    advantages = group_advantages(torch.tensor(REWARDS).view(-1, GROUP), form).flatten()
    theirs = trainer._compute_loss(
        model.base_model.train(),
        {
            "prompt_ids": prompt_ids, "prompt_mask": prompt_mask, "completion_ids": completion_ids,
            "completion_mask": completion_mask, "advantages": advantages, "ref_per_token_logps": old,
            "num_items_in_batch": completion_mask.sum(),
        },
    )  # fmt: skip
    for one, other in zip(ours, gradients(model, theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
        assert one.abs().max() > 1e-4


def test_group_advantages_are_trls():
    rewards = torch.tensor(REWARDS).view(-1, GROUP)
    # GRPOTrainer._generate_and_score_completions computes them between generating and scoring: its two lines
    expected = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
    assert torch.equal(group_advantages(rewards, "grpo"), expected)


def test_the_loss_of_dpo_is_trls(tmp_path):
    model = learned()
    words = word_tokenizer().get_vocab()
    pairs = [("sky blue", "sky red"), ("grass is green", "fire"), ("fire red", "grass red ?")]

    def tokens(text):
        return [1, *(words[word] for word in text.split()), 1]

    def encode(texts):
        whole, mask = padded([tokens(text) for text in texts])
        return whole[:, :-1], whole[:, 1:].masked_fill(mask[:, 1:] == 0, -100)

    preferences = Preferences(model, pairs, encode, beta=0.3, batch_size=len(pairs))
    ((inputs, targets),) = preferences
    loss = preferences.loss(model(inputs), targets)
    ours = gradients(model, loss)

    options = trl.DPOConfig(
        output_dir=str(tmp_path), use_cpu=True, report_to=[], beta=0.3, per_device_train_batch_size=3, bf16=False,
        gradient_checkpointing=False,
        precompute_ref_log_probs=False,
    )  # fmt: skip
    table = datasets.Dataset.from_dict({"prompt": ["what"], "chosen": ["red"], "rejected": ["blue"]})
    trainer = trl.DPOTrainer(
        model.base_model, ref_model=tiny_model().double(), args=options, train_dataset=table,
        processing_class=word_tokenizer(None),
    )  # fmt: skip
    ids, mask = padded([tokens(text) for text in (*(a for a, _ in pairs), *(b for _, b in pairs))])
    completion_mask = mask.clone()
    completion_mask[:, 0] = 0
    trainer.model.train()
    theirs = trainer._compute_loss(
        trainer.model, {"input_ids": ids, "attention_mask": mask, "completion_mask": completion_mask}, False
    )
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-6)
    for one, other in zip(ours, gradients(model, theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
