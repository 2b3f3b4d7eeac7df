"""Teach a LoRA layer a matrix by showing it only what the matrix does: random x, and x times the matrix.

It is LoRA alone, with nothing around it: the matrix is the update that is to be learnt, and the layer's A·B learns it
by gradient descent. The run is the library's (AdamW, the loss a mean of squares, the learning rate falling to zero),
with the two gradients written out by hand, which takes a third of autograd's time: fast enough for a slider.
"""

import math
from dataclasses import dataclass

from lora_teach.layer import LoRALayer
from lora_teach.utils.threads import one_thread

import torch

LR = 0.05


def falling(done):
    """Return the factor of the learning rate when this share of the run is done: a straight line from 1 to 0."""
    return 1.0 - done


@dataclass(frozen=True)
class Fit:
    """What a run passed through from the start on: A ``(steps + 1, in, rank)`` and B ``(steps + 1, rank, out)``."""

    A: torch.Tensor
    B: torch.Tensor
    scaling: float

    def product(self, step):
        """Return the layer's update after this many steps, ``scaling · A·B``: ``(in_features, out_features)``."""
        return self.scaling * self.A[step] @ self.B[step]

    def loss(self, target):
        """Return the loss at every step as a share of the target's own: ``(steps + 1,)``, float64.

        It is the loss on inputs without end: for x of independent standard normal numbers the squared error of
        ``x A·B`` is, on average, the sum of ``(A·B - target)²``. A start at ``A·B = 0`` has the loss 1.
        """
        A, B, target = self.A.double(), self.B.double() * self.scaling, target.double()
        size = target.square().sum()
        # ‖AB - T‖² = ‖T‖² - 2⟨AᵀT, B⟩ + ⟨AᵀA, BBᵀ⟩: nothing larger than a factor is made at each step
        both = ((A.mT @ target) * B).sum((1, 2))  # (steps + 1,)
        own = ((A.mT @ A) * (B @ B.mT)).sum((1, 2))  # (steps + 1,)
        return ((size - 2 * both + own) / size).clamp_min(0)  # (steps + 1,)


def examples(target, batches=50, batch_size=128, seed=0):
    """Return what may be seen of ``target``: a list of batches (x, x @ target).

    Args:
        target: The matrix, ``(in_features, out_features)``.
        batches: How many.
        batch_size: Rows of x in each.
        seed: Draws x, independent standard normal numbers.

    Shapes:
        x: ``(batch, in_features)``; x @ target: ``(batch, out_features)``.
    """
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(batches, batch_size, target.shape[0], generator=draw)  # (batches, batch, in_features)
    return list(zip(x, x @ target, strict=True))


def fresh_layer(target, rank, seed=0):
    """Return a new LoRALayer of this rank for ``target``; the global random numbers are left as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LoRALayer(*target.shape, rank=rank)


@torch.no_grad()
def fit_in_place(layer, batches, steps=300, lr=LR):
    """Train ``layer`` on the batches, over and over, and return everything it passed through, a `Fit`.

    The same, step for step, as ``train(layer, batches, mse_loss, lr=lr, steps=steps, schedule=falling)``. A ValueError
    for a dropout, a learnable scaling, or a layer that became infinite.
    """
    if layer.dropout or isinstance(layer.scaling, torch.Tensor):
        raise ValueError(
            f"dropout={layer.dropout} and scaling={layer.scaling}: these gradients are written out for no dropout and "
            "a fixed scaling. Use train() for other layers."
        )
    A, B, scaling = layer.lora_A, layer.lora_B, layer.scaling
    seen_A, seen_B = A.new_empty(steps + 1, *A.shape), B.new_empty(steps + 1, *B.shape)
    optimizer = torch.optim.AdamW([A, B], lr, weight_decay=0.0, fused=True)
    with one_thread():
        for step in range(steps):
            seen_A[step], seen_B[step] = A, B
            x, y = batches[step % len(batches)]  # (batch, in_features), (batch, out_features)
            hidden = x @ A  # (batch, rank)
            error = (hidden @ B).mul_(scaling).sub_(y)  # (batch, out_features)
            error.mul_(2 * scaling / y.numel())  # ∂loss/∂(xAB)
            A.grad, B.grad = x.T @ (error @ B.T), hidden.T @ error  # shapes of A and of B
            optimizer.param_groups[0]["lr"] = lr * falling(step / steps)
            optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    seen_A[steps], seen_B[steps] = A, B
    if not math.isfinite(float(A.abs().sum() + B.abs().sum())):
        raise ValueError(f"the factors became infinite at lr={lr}. Use a smaller one; {LR} is the default.")
    return Fit(seen_A, seen_B, scaling)
