"""The very first step: how far does it lower the loss, and how does that depend on the rank and on the scaling rule?

At the start B = 0, so A has no gradient and only B moves. To first order the loss falls by

- ``lr · Σ|∂L/∂B|`` under Adam, which at its first step moves every number by lr, whatever the size of its gradient;
- ``lr · Σ(∂L/∂B)²`` under plain gradient descent.

∂L/∂B is proportional to the scaling s, and B has r rows that are alike on average. So the drop grows with the rank as
``s · r`` under Adam and as ``s² · r`` under gradient descent. Measured here, not derived: one step of torch's own
optimiser, the loss on the same batch before and after, in float64.
"""

import math
from dataclasses import dataclass

from lora_teach.bases import load_digit_net
from lora_teach.layer import SCALINGS
from lora_teach.measure.retraining import HIDDEN, digit_batches
from lora_teach.measure.tuning import trainable_copy
from lora_teach.utils.threads import one_thread
from lora_teach.utils.validation import check_choice

import torch
import torch.nn.functional as F

LR = 1e-4  # small enough that the first order is all there is, to within 1 % at every rank here
RANKS = (1, 2, 4, 8, 16, 32, 64)
SEEDS = 16
BATCH_SIZE = 256
OPTIMIZERS = {
    "Adam": lambda parameters, lr: torch.optim.AdamW(parameters, lr, weight_decay=0.0),
    "gradient descent": torch.optim.SGD,
}


@dataclass(frozen=True)
class Drop:
    """How much one step lowered the loss of its batch, nats a digit, and what the gradients before it foretold."""

    came: float
    expected: float


def first_drop(split, rank, scaling="alpha/r", *, alpha=1.0, optimizer="Adam", lr=LR, seed=0, base=None):
    """Take the first step of LoRA on the hidden layers of a DigitNet, on 256 training digits, and return its `Drop`.

    ``scaling`` and ``alpha`` as for LoRALayer; ``optimizer`` is "Adam" or "gradient descent"; ``seed`` draws A.
    """
    make = OPTIMIZERS[check_choice("optimizer", optimizer, OPTIMIZERS)]
    options = {"alpha": alpha, "scaling": scaling, "target_modules": HIDDEN}
    model = trainable_copy(base or load_digit_net(), rank, seed, **options).double()
    ((x, y),) = digit_batches(split, batches=1, batch_size=BATCH_SIZE)
    x = x.double()  # (batch, 64)
    with one_thread():
        before = F.cross_entropy(model(x), y)
        before.backward()
        parameters = model.trainable_parameters()
        gradients = [parameter.grad.clone() for parameter in parameters]
        make(parameters, lr).step()
        with torch.no_grad():
            after = F.cross_entropy(model(x), y)
    measure = torch.abs if optimizer == "Adam" else torch.square
    expected = lr * sum(measure(gradient).sum().item() for gradient in gradients)
    return Drop(before.item() - after.item(), expected)


def first_drops(split, ranks=RANKS, seeds=SEEDS, **options):
    """Return the mean drop of the loss over the seeds: ``{rule: [nats a digit, one a rank]}``.

    Args:
        split: As for `first_drop`.
        ranks: As many of them as wanted.
        seeds: How many starts are averaged, 0 to seeds − 1.
        **options: The other options of `first_drop`.
    """
    options["base"] = options.get("base") or load_digit_net()
    return {
        rule: [
            sum(first_drop(split, rank, rule, seed=seed, **options).came for seed in range(seeds)) / seeds
            for rank in ranks
        ]
        for rule in SCALINGS
    }


def growth(ranks, drops):
    """Return the power p of the best fit ``drop ∝ rank^p``: the slope on axes that are both logarithmic.

    >>> round(growth([1, 4, 16], [3.0, 6.0, 12.0]), 6)
    0.5
    """
    x, y = [math.log2(rank) for rank in ranks], [math.log2(drop) for drop in drops]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    over = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return over / sum((a - mean_x) ** 2 for a in x)
