"""One training that works, and the same with one mistake in it: DigitNet on digits turned by 30°, LoRA of rank 4."""

import math
from dataclasses import dataclass

from lora_teach.bases import load_digit_net
from lora_teach.datasets.digits import rotated
from lora_teach.doctor import diagnose
from lora_teach.measure.retraining import digit_batches
from lora_teach.model import LoRAModel
from lora_teach.utils.threads import one_thread

import torch
import torch.nn.functional as F
from torch import nn

STEPS, LR, RANK = 200, 0.01, 4


@dataclass(repr=False)
class Run:
    """A training as it stands before its first step; change its parts to mend it.

    Attributes:
        model: A LoRAModel over DigitNet.
        optimizer: What its `train` steps.
        batches: Pairs x float32 (batch, 64), y int64 (batch,).
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    batches: list

    def train(self, steps=STEPS):
        """Train by the plainest loop, which refuses nothing; return each step's loss, in nats a digit.

        It ends early where the loss is no longer finite.
        """
        losses = []
        with one_thread():
            for step in range(steps):
                x, y = self.batches[step % len(self.batches)]
                loss = F.cross_entropy(self.model(x), y)
                losses.append(loss.item())
                if not math.isfinite(losses[-1]):
                    break
                self.optimizer.zero_grad()
                if loss.requires_grad:
                    loss.backward()
                self.optimizer.step()
        return losses

    def doctor(self):
        """Return the doctor's `Diagnosis` of this run, with its first batch."""
        return diagnose(self.model, self.optimizer, self.batches[0], F.cross_entropy)

    def rebuild(self, lr=LR, weight_decay=0.0):
        """Give the run a new AdamW, over what trains in its model now."""
        self.optimizer = torch.optim.AdamW(self.model.trainable_parameters(), lr, weight_decay=weight_decay)


def optimiser_too_early(run):
    """The optimiser is that of the base."""
    run.optimizer = torch.optim.AdamW(run.model.base_model.parameters(), LR, weight_decay=0.0)


def rate_of_full_fine_tuning(run):
    """A learning rate as for all weights of a large model."""
    run.rebuild(2e-5)


def rate_too_high(run):
    """A learning rate a hundred times too high."""
    run.rebuild(100 * LR)


def both_zero(run):
    """A starts at zero, as B does."""
    for layer in run.model.lora_layers.values():
        nn.init.zeros_(layer.lora_A)


def decayed(run):
    """A weight decay that takes a tenth of A and B at each step."""
    run.rebuild(weight_decay=10.0)


def no_strength(run):
    """Alpha is zero."""
    run.model.set_alpha(0)


MISTAKES = {  # name on the button -> (what it does to a run, the doctor's name for it)
    "none": (lambda run: None, "healthy"),
    "optimiser too early": (optimiser_too_early, "optimizer_misses_adapters"),
    "lr 0.00002": (rate_of_full_fine_tuning, "learning_rate_like_full_finetuning"),
    "lr 1": (rate_too_high, "learning_rate_too_high"),
    "A and B zero": (both_zero, "both_factors_zero"),
    "weight decay 10": (decayed, "weight_decay_on_adapters"),
    "alpha 0": (no_strength, "alpha_zero"),
}


def new_run(mistake="none", seed=0):
    """Return a fresh `Run` with one of `MISTAKES` in it; KeyError for another name."""
    spoil, _ = MISTAKES[mistake]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LoRAModel(load_digit_net(), rank=RANK, target_modules=["hidden1", "hidden2"])
    run = Run(model, None, digit_batches(rotated(30), seed=seed))
    run.rebuild()
    spoil(run)
    return run


def draw_runs(number):
    """Return three runs ``{"A": Run, "B": …, "C": …}`` drawn by ``number``; two have a mistake and one has none."""
    return {letter: new_run(mistake, seed=number) for letter, mistake in drawn_mistakes(number).items()}


def drawn_mistakes(number):
    """Return which mistake each run of `draw_runs` has: ``{letter: name}``."""
    draw = torch.Generator().manual_seed(int(number))
    names = [name for name in MISTAKES if name != "none"]
    chosen = [names[place] for place in torch.randperm(len(names), generator=draw)[:2].tolist()] + ["none"]
    order = torch.randperm(3, generator=draw).tolist()
    return {letter: chosen[place] for letter, place in zip("ABC", order, strict=True)}
