"""LoRA with separate learning rates for A and B, besides the factor and the size of A's start.

Under Adam without weight decay two numbers decide the run, ``lr_A / size_A`` and ``factor · size_A · lr_B``: what keeps
both of them keeps every output that the model passes through (Schulman and Thinking Machines 2025, "LoRA Without
Regret", has the same in other letters). For if A starts c times as large, moves c times as far at each step, and the
factor is divided by c, then factor · A·B is what it was; and Adam moves A by A's rate, whatever the size of its
gradient. The same holds for B, which starts at zero.
"""

from lora_teach.bases import accuracy, load_digit_net
from lora_teach.measure.retraining import HIDDEN, LR, STEPS, train_digits
from lora_teach.measure.strength import under_each
from lora_teach.measure.tuning import trainable_copy

import torch

EPS = 1e-8  # Adam's own: added to the root of the mean squared gradient, so it must be small beside it


def train_separate_rates(
    split, rank=8, *, factor=1.0, size_A=1.0, lr_A=LR, lr_B=LR, eps_A=EPS, eps_B=EPS, steps=STEPS, seed=0, base=None
):
    """Retrain DigitNet with LoRA on its two hidden layers, as `retrain` does, with each of the four numbers given.

    Args:
        split: A `lora_teach.datasets.digits.Digits`.
        rank: 1 to 64.
        factor: What ``x A B`` is multiplied by, whatever rule it comes from.
        size_A: The library's start of A is multiplied by this; B starts at zero.
        lr_A: Learning rate of every A.
        lr_B: Learning rate of every B.
        eps_A: Adam's eps for every A. A gradient that is c times smaller wants an eps that is c times smaller.
        eps_B: Adam's eps for every B.
        steps: Updates.
        seed: Decides A's start and the batches.
        base: A DigitNet, which stays as it is; None loads the one for upright digits.
    """
    model = trainable_copy(base or load_digit_net(), rank, seed, alpha=factor, scaling="alpha", target_modules=HIDDEN)
    layers = list(model.lora_layers.values())
    with torch.no_grad():
        for layer in layers:
            layer.lora_A.mul_(size_A)
    groups = [
        {"params": [layer.lora_A for layer in layers], "lr": lr_A, "eps": eps_A},
        {"params": [layer.lora_B for layer in layers], "lr": lr_B, "eps": eps_B},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0, fused=True)
    return train_digits(model, split, steps=steps, seed=seed, optimizer=optimizer)


def accuracy_by_strength(model, split, strengths):
    """Return the accuracy on test digits with the one active adapter at each strength; it is as found afterwards."""
    (name,) = model.active_adapters
    return under_each(model, [{name: strength} for strength in strengths], lambda model: accuracy(model, *split.test))


def two_lives_of_alpha(split, multiples, rank=8, **options):
    """Return accuracies on test digits by what alpha is multiplied with, in three ways.

    - "used": trained at 1 and multiplied afterwards;
    - "trained": multiplied before training;
    - "rate of B": trained at 1, with the learning rate of B multiplied in alpha's place (and Adam's eps for B divided,
      since B's gradient is that much smaller than in the run that it is compared with).

    Args:
        split: A `lora_teach.datasets.digits.Digits`.
        multiples: Of the factor 1.
        rank: 1 to 64.
        **options: The other options of `train_separate_rates`, such as ``seed``.
    """
    base, lr = load_digit_net(), options.pop("lr_B", LR)

    def train(**changed):
        return train_separate_rates(split, rank, base=base, **({"lr_B": lr} | changed), **options)

    return {
        "used": accuracy_by_strength(train().model, split, multiples),
        "trained": [train(factor=multiple).accuracy for multiple in multiples],
        "rate of B": [train(lr_B=lr * multiple, eps_B=EPS / multiple).accuracy for multiple in multiples],
    }
