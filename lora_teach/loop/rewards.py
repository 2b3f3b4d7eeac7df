"""Learning from a reward: the model writes, a judge scores, and what scored above its group becomes likelier.

    rollouts = Rollouts(model, NameWriter(64), reward, kl=0.1)
    train(model, rollouts, rollouts.loss, lr=3e-3, steps=60)

Each batch is written by the model as it is at that moment, so every update uses fresh texts, once. The loop is
`lora_teach.training_steps`, unchanged.
"""

import math
import numbers
import sys
import warnings
from contextlib import nullcontext
from dataclasses import dataclass

from lora_teach.loop.randomness import IsolatedRandomness
from lora_teach.loop.weights import IGNORED
from lora_teach.overlay.inspection import overlays
from lora_teach.utils.evaluating import evaluating
from lora_teach.utils.validation import check_callable, check_choice, check_seed

import torch
import torch.nn.functional as F

FORMS = ("reinforce", "grpo")
SMALL = 1e-4  # added to a group's standard deviation, as in TRL: a group of equal rewards divides by it


@dataclass(frozen=True)
class Episodes:
    """What a model wrote, and what it read and answered while writing.

    Attributes:
        texts: A list of texts.
        inputs: int64 ``(batch, seq)``, padded on the right.
        targets: int64 ``(batch, seq)``: the token written after each input, -100 where the model wrote none.
        group: How many texts in a row answer the same prompt; None means all of them.
        prompts: The prompt of each text, which the reward is then given too; None if there are none.
    """

    texts: list
    inputs: torch.Tensor
    targets: torch.Tensor
    group: int | None = None
    prompts: list | None = None


@dataclass(frozen=True)
class Score:
    """One update's texts: their mean reward, the share of distinct ones, and the KL in nats a text (None: unknown)."""

    reward: float
    distinct: float
    kl: float | None


class Rollouts:
    """Batches that the model writes itself, for `lora_teach.training_steps` with `loss`.

    With a group's mean as the baseline, and no penalty, the gradient of `loss` is that of REINFORCE (Williams 1992):
    ``−mean over texts of (reward − baseline) · Σ ∇ log π(token)``. ``form="grpo"`` (Shao et al. 2024, eq. 3) divides
    each advantage by the standard deviation of its group, and each text's sum by its number of tokens. Each batch is
    learnt from once, so GRPO's ratio is 1 and its clipping never acts.

    The penalty makes ``kl`` times the divergence from the reference smaller. Its gradient is
    ``kl · (log π − log π_ref) ∇ log π`` for each token, which is that of TRL's default; what a token does to the later
    ones is left out, as there.

    The reference is the same model with its adapter off, so it takes no memory of its own.

    Args:
        model: A LoRAModel, or any module that gives logits, or an output with ``.logits``.
        write: ``write(model) -> Episodes``, such as `lora_teach.bases.episodes.NameWriter`. It is called in eval mode,
            without gradients.
        reward: ``reward(text)``, or ``reward(text, prompt)`` where there are prompts: a finite number or a bool.
        kl: Weight of the penalty in rewards a nat, 0 or more.
        form: "reinforce" or "grpo".
        reference: A module in place of the model with its adapter off; needed for full fine-tuning with a penalty.
        seed: Decides what is written; your own random numbers are not touched.

    Attributes:
        last: The newest `Episodes`.
        rewards: Their rewards, float32 ``(batch,)``.
        history: A `Score` for each update.

    Raises:
        ValueError: An unknown form, a negative kl, a penalty without a reference; later, a reward that is not finite,
            a write that gives no texts, or a group that does not divide them.
        TypeError: A reward that is no number.

    Warns:
        UserWarning: In the first batch the rewards of each group are equal, so that nothing can be learnt from it.

    A run with ``checkpoint=`` can't be resumed: its batches depend on what the model was, and the loop says so.
    """

    def __init__(self, model, write, reward, *, kl=0.0, form="reinforce", reference=None, seed=0):
        self.form, self.kl = check_choice("form", form, FORMS), check_weight("kl", kl, at_least=0)
        self.model, self.reference = model, reference
        self.write = check_callable("write", write, "NameWriter(64)")
        self.reward = check_callable("reward", reward, "lambda text: text.count('a')")
        if kl and reference is None:
            adapted(model)
        self.last, self.rewards, self.history = None, None, []
        self._random = IsolatedRandomness(check_seed(seed), next(model.parameters()).device)

    def __iter__(self):
        while True:
            yield self.batch()

    def batch(self):
        """Let the model write, score what it wrote, and return ``(inputs, targets)`` as `loss` takes them."""
        with evaluating(self.model), self._random:
            self.last = written = self.write(self.model)
        self.rewards = self._scored(written).to(written.inputs.device)
        known = self.reference is not None or overlays(self.model)
        old = reference_log_probs(self.model, self.reference, written.inputs, written.targets) if known else None
        groups = self.rewards.view(-1, written.group or len(written.texts))  # (groups, size)
        advantages = group_advantages(groups, self.form).flatten()  # (batch,)
        if not self.history and not advantages.any():
            warnings.warn(
                f"in the first batch the {groups.shape[1]} rewards of each group are equal (the first: "
                f"{self.rewards[0].item():g}), so nothing is learnt from it. Write more texts, or give a part of the "
                "reward for a part of the way.",
                stacklevel=2,
            )
        targets = {"tokens": written.targets, "advantages": advantages, "rewards": self.rewards}
        return written.inputs, targets | ({} if old is None else {"reference": old})

    def loss(self, output, targets):
        """Return minus the mean reward plus the penalty; its gradient is minus the policy gradient.

        So the curve of a run is worth looking at: it falls as the reward rises. Takes what `batch` returned.
        """
        tokens, old = targets["tokens"], targets.get("reference")
        log_probs = token_log_probs(output, tokens)  # (batch, seq)
        push = targets["advantages"].to(log_probs.dtype)[:, None]  # (batch, 1)
        value, kl = -targets["rewards"].mean(), None
        if old is not None:
            ratio = log_probs.detach() - old  # (batch, seq), in nats
            push = push - self.kl * ratio
            value, kl = value + self.kl * self._mean(ratio, tokens), ratio.sum(1).mean().item()
        surrogate = -self._mean(push * log_probs, tokens)
        distinct = len(set(self.last.texts)) / len(self.last.texts)
        self.history.append(Score(targets["rewards"].mean().item(), distinct, kl))
        return surrogate + (value - surrogate).detach()

    def _mean(self, each, tokens):
        """Return the mean over texts of their tokens' sum, or, for GRPO, of their tokens' mean."""
        total = each.sum(1)  # (batch,); 0 where nothing was written
        if self.form == "grpo":
            total = total / (tokens != IGNORED).sum(1).clamp(min=1)
        return total.mean()

    def _scored(self, written):
        """Return the rewards of these texts, float32 (batch,), each one checked."""
        count, group = len(written.texts), written.group or len(written.texts)
        if group < 2 or count % group or len(written.inputs) != count:
            raise ValueError(
                f"write gave {count} texts in groups of {group} and inputs of shape {tuple(written.inputs.shape)}. "
                "Give a text for each row, in groups of one size of at least 2: each is compared with its group's mean."
            )
        prompts = [()] * count if written.prompts is None else [(prompt,) for prompt in written.prompts]
        given = [self.reward(text, *prompt) for text, prompt in zip(written.texts, prompts, strict=True)]
        return torch.tensor([_checked(text, one) for text, one in zip(written.texts, given, strict=True)])


def _checked(text, reward):
    """Return one reward, which may be a tensor or an array of one number, as a float."""
    number = reward.item() if getattr(reward, "shape", None) in ((), (1,)) else reward
    if not isinstance(number, numbers.Real):
        raise TypeError(f"the reward of {text!r} is {reward!r}, which is no number. Return a number, or a bool.")
    if not -sys.float_info.max <= number <= sys.float_info.max:  # nan too, and whole numbers beyond any float
        raise ValueError(f"the reward of {text!r} is {str(number)[:40]}, which is not finite. Return a finite number.")
    return float(number)


def token_log_probs(output, targets):
    """Return the log-probability of each target, 0 where it is -100: ``(batch, seq)``, in nats.

    Shapes:
        output: logits ``(batch, seq, vocabulary)``, or what holds them as ``.logits``; targets int64 ``(batch, seq)``.
    """
    logits = getattr(output, "logits", output)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return -F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none").view(
        targets.shape
    )


def group_advantages(rewards, form="reinforce"):
    """Return how far each reward lies above its group's mean, for GRPO in standard deviations: (groups, size) both."""
    above = rewards - rewards.mean(1, keepdim=True)
    if form == "grpo":
        above = above / (rewards.std(1, keepdim=True) + SMALL)
    return above


def reference_log_probs(model, reference, inputs, targets):
    """Return `token_log_probs` of ``reference``, or, where that is None, of ``model`` with its adapter off."""
    asked = model if reference is None else reference
    with nullcontext() if reference is not None else adapted(model).disabled(), evaluating(asked):
        return token_log_probs(asked(inputs), targets)


def adapted(model):
    """Return the LoRAModel that ``model`` is or holds; ValueError if there is none."""
    found = overlays(model)
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no adapter to turn off, so there is nothing to compare it with. Give a copy "
            "of the model as reference=, made before training."
        )
    return found[0]


def check_weight(name, value, at_least=None):
    """Return ``value`` if it is a finite number above 0, or of at least ``at_least``; TypeError or ValueError else."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}={value!r} is not a number. Use one such as 0.1.")
    if not math.isfinite(value) or (value <= 0 if at_least is None else value < at_least):
        limit = "above 0" if at_least is None else f"{at_least} or more"
        raise ValueError(f"{name}={value} is out of range: it must be finite and {limit}. 0.1 is usual.")
    return float(value)
