"""Retrain DigitNet on changed digits, from its start to a result: fast enough to answer a slider.

One run is 200 of the library's own training steps, about a sixth of a second on a laptop. Everybody trains under the
same conditions, so that only what is asked about differs: the same batches by seed, AdamW, a constant learning rate.
"""

from dataclasses import dataclass
from statistics import mean

from lora_teach.bases import accuracy, load_digit_net
from lora_teach.measure.tuning import trainable_copy
from lora_teach.training import NonFiniteLoss, training_steps
from lora_teach.utils.threads import one_thread

import torch
import torch.nn.functional as F
from torch import nn

STEPS, BATCH_SIZE, LR = 200, 64, 0.01
HIDDEN = ("hidden1", "hidden2")  # wide enough for every rank up to 64; the output layer allows at most 10
CHANCE = 2.302585092994046  # nats: ln 10, what guessing among ten digits costs


@dataclass(frozen=True)
class Retrained:
    """What became of one run.

    Attributes:
        model: The trained model.
        loss: The loss of each step's batch before that step, nats a digit; shorter than planned if it blew up.
        accuracy: Share of the test digits that are read right, 0 to 1.
        blew_up: Whether a loss or an update stopped being finite.
    """

    model: nn.Module
    loss: list[float]
    accuracy: float
    blew_up: bool

    @property
    def final_loss(self):
        """The mean loss of the last 20 steps, nats a digit; inf if the run blew up."""
        return float("inf") if self.blew_up else mean(self.loss[-20:])


def digit_batches(split, batches=50, batch_size=BATCH_SIZE, seed=0):
    """Return so many batches drawn with replacement from the training digits of a `Digits`, a list to go through again.

    Shapes:
        x: float32 ``(batch, 64)``; y: int64 ``(batch,)``.
    """
    x, y = split.train
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(x), (batches, batch_size), generator=draw)  # (batches, batch)
    return [(x[batch], y[batch]) for batch in chosen]


def retrain(split, rank=None, *, lr=LR, steps=STEPS, seed=0, base=None, **options):
    """Adapt a fresh copy of the base to these digits and return how that went.

    Args:
        split: A `lora_teach.datasets.digits.Digits`.
        rank: Rank of LoRA on the two hidden layers, 1 to 64; None means full fine-tuning of every parameter.
        lr: AdamW's learning rate.
        steps: Updates.
        seed: Decides LoRA's start and the batches.
        base: A DigitNet, which stays as it is; None loads the one for upright digits.
        **options: LoRAConfig's, such as ``alpha``, ``scaling``, ``init`` or ``target_modules``.

    Raises:
        TypeError: Options of LoRA for full fine-tuning.
    """
    if rank is not None:
        options = {"target_modules": HIDDEN} | options
    model = trainable_copy(base or load_digit_net(), rank, seed, **options)
    return train_digits(model, split, steps=steps, seed=seed, lr=lr)


def train_digits(model, split, *, steps=STEPS, seed=0, **options):
    """Train this model on these digits; options as `lora_teach.training_steps`."""
    losses, blew_up = [], False
    batches = digit_batches(split, seed=seed)
    with one_thread():
        try:
            for step in training_steps(model, batches, F.cross_entropy, steps=steps, seed=seed, **options):
                losses.append(step.loss)
        except NonFiniteLoss:
            blew_up = True  # the model is as it was at the last finite step
    return Retrained(model, losses, accuracy(model, *split.test), blew_up)
