"""A whole run at several ranks under one rule of scaling: how large is what the adapter adds, and how low the loss?

A rule is rank-stable if the update has the same size at every rank (Kalajdzievski 2023, arXiv 2312.03732, section 3).
"""

from dataclasses import dataclass

from lora_teach.bases import load_digit_net
from lora_teach.measure.retraining import HIDDEN, digit_batches
from lora_teach.measure.tuning import trainable_copy
from lora_teach.training import NonFiniteLoss, training_steps
from lora_teach.utils.threads import one_thread

import torch
import torch.nn.functional as F

RANKS = (1, 8, 64)
RULES = {"alpha/r": "α/r", "alpha/sqrt(r)": "α/√r", "alpha": "a constant"}  # LoRAConfig's scaling, and how it is said
STEPS, EVERY = 200, 5


@dataclass(frozen=True)
class Followed:
    """One run, looked at every few steps.

    Attributes:
        steps: Where it was looked at, from 1.
        sizes: The mean of the two layers' ‖ΔW‖ / ‖W‖ there.
        losses: Mean loss of the steps since the last look, nats a digit.
    """

    steps: list
    sizes: list
    losses: list


@torch.no_grad()
def update_size(model):
    """Return the mean over a LoRAModel's layers of ‖ΔW‖ / ‖W‖."""
    parts = [
        layer.delta_weight().norm() / model.base_model.get_submodule(path).weight.norm()
        for path, layer in model.lora_layers.items()
    ]
    return (sum(parts) / len(parts)).item()


def followed(split, rank, scaling, lr, *, alpha=8, steps=STEPS, seed=0, base=None):
    """Train DigitNet's hidden layers on these digits with LoRA and return the `Followed` run; it may end early.

    Args:
        split: A `lora_teach.datasets.digits.Digits`.
        rank: 1 to 64.
        scaling: One of `RULES`.
        lr: AdamW's learning rate.
        alpha: LoRAConfig's; under "alpha" the factor is 1 whatever it is.
        steps: Updates.
        seed: Decides the start and the batches.
        base: A DigitNet, which stays as it is; None loads the one for upright digits.
    """
    options = {"alpha": 1 if scaling == "alpha" else alpha, "scaling": scaling, "target_modules": HIDDEN}
    model = trainable_copy(base or load_digit_net(), rank, seed, **options)
    run, recent = Followed([], [], []), []
    with one_thread():
        try:
            for step in training_steps(
                model, digit_batches(split, seed=seed), F.cross_entropy, lr=lr, steps=steps, seed=seed
            ):
                recent.append(step.loss)
                if step.index == 1 or step.index % EVERY == 0:
                    run.steps.append(step.index)
                    run.sizes.append(update_size(model))
                    run.losses.append(sum(recent) / len(recent))
                    recent = []
        except NonFiniteLoss:
            pass  # what was seen until then is shown
    return run


def growth_at_end(runs):
    """Return how many times the first rank's size the last rank's is when the runs end: ``{rank: Followed}``."""
    ranks = list(runs)
    return runs[ranks[-1]].sizes[-1] / runs[ranks[0]].sizes[-1]
