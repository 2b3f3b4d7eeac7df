"""Waking up: the same run from four starts. Which factor has to start at zero, and why not both?"""

from functools import lru_cache

import torch
from torch import nn

from lora_teach.datasets.photo import centred_pagoda
from lora_teach.layer import LoRALayer
from lora_teach.live.explore import Explorer, View, explore
from lora_teach.measure.fitting import examples, fit_in_place, fresh_layer
from lora_teach.measure.spectrum import spectrum
from lora_teach.pictures.waking_up import drawing as plots
from lora_teach.plots import Still, show
from lora_teach.utils.validation import check_choice

STARTS = ("B = 0", "A = 0", "both 0", "both random")
RANK, STEPS = 8, 300
SHOWN = (0, 1, 5, 20, 60, STEPS)  # steps of the small multiples


def start_layer(target, start, rank=RANK) -> LoRALayer:
    """Return a new layer for ``target``, ``(in_features, out_features)``, whose factors start as ``start`` says.

    "B = 0" is the library's own start. Where B starts at random, it is standard normal.
    """
    check_choice("start", start, STARTS)
    layer = fresh_layer(target, rank)
    if start in ("A = 0", "both random"):
        nn.init.normal_(layer.lora_B, generator=torch.Generator().manual_seed(1))
    if start in ("A = 0", "both 0"):
        nn.init.zeros_(layer.lora_A)
    return layer


def gradient_norms(A, B, scaling, x, y):
    """Return the norms of ∂loss/∂A and ∂loss/∂B, where the loss is the mean of ``(scaling · x A B - y)²``.

    Shapes:
        A: ``(in_features, rank)``. B: ``(rank, out_features)``.
        x: ``(batch, in_features)``. y: ``(batch, out_features)``.
    """
    hidden = x @ A  # (batch, rank)
    error = (scaling * hidden @ B - y) * (2 * scaling / y.numel())  # (batch, out_features)
    return (x.T @ (error @ B.T)).norm().item(), (hidden.T @ error).norm().item()


class WakingUp(View):
    """A layer learns ΔW*, the photo, from one of four starts; the step slider goes through the run.

    Args:
        guess: The loss that the learner predicts for step 0 of "both random", in % of the loss without an update.
    """

    def __init__(self, guess: float | None = None) -> None:
        self.target = centred_pagoda()
        self.batches = examples(self.target)
        self.run = lru_cache(maxsize=len(STARTS))(self._run)
        usual, *_ = self.run("B = 0")
        limits = {
            "A": _high(usual.A[-1] - usual.A[0]),
            "B": _high(usual.B[-1]),
            "AB": _high(self.target),
        }
        wanted = spectrum(self.target)[:RANK].numpy()
        self.drawn = plots.draw(self.target, RANK, STEPS, limits, wanted, guess)
        self.picture = self.drawn.picture

    def __call__(self, start, step):
        """Show one step of the run from this start."""
        fit, loss, norms, sigma = self.run(start)
        self.drawn.update(
            (fit.A[step] - fit.A[0]).numpy(), fit.B[step].numpy(), fit.product(step).numpy(), norms[step],
            sigma[step].numpy(), loss.numpy(), step,
        )  # fmt: skip
        of_A, of_B = (_told(norm) for norm in norms[step])
        return (
            f"{start}, after step {step}: the loss is {loss[step]:.0f} % of the loss without an update. The gradient "
            f"of A is {of_A}, that of B {of_B}."
        )

    def _run(self, start):
        """Return the fit, its loss by step in %, both gradients' norms by step, and A·B's singular values by step."""
        fit = fit_in_place(start_layer(self.target, start), self.batches, STEPS)
        norms = [
            gradient_norms(fit.A[step], fit.B[step], fit.scaling, *self.batches[step % len(self.batches)])
            for step in range(STEPS + 1)
        ]
        return fit, 100 * fit.loss(self.target), norms, _singular_values(fit)

    def twin(self) -> Still:
        """The four starts as rows."""
        runs = {start: self.run(start) for start in STARTS}
        drawn = plots.draw_starts(
            {start: {step: fit.product(step).numpy() for step in SHOWN} for start, (fit, *_) in runs.items()},
            {start: loss.numpy() for start, (_, loss, _, _) in runs.items()},
            {start: norms[0] for start, (_, _, norms, _) in runs.items()},
            _high(self.target),
        )
        spoilt = runs["both random"][1][0]
        return show(
            drawn,
            "A·B from four starts, orange where brighter than the photo's mean. With one factor at zero there is no "
            "update at first, and only the zero factor has a gradient; that wakes the other. Both at zero never learn. "
            f"Both random start at {spoilt:.0f} % of the loss without an update.",
        )

    @classmethod
    def example(cls, guess=None) -> Explorer:
        """Return the explorer as notebook 02 shows it."""
        view = cls(guess)
        return explore(view, start=list(STARTS), step=(0, STEPS, 0), twin=view.twin())


def _singular_values(fit):
    """Return the singular values of every step's update, ``(steps + 1, rank)``, from r × r matrices only."""
    # A·B has the singular values of R_A · R_Bᵀ, where A = Q_A R_A and Bᵀ = Q_B R_B.
    of_A, of_B = torch.linalg.qr(fit.A).R, torch.linalg.qr(fit.B.mT).R  # (steps + 1, rank, rank) each
    return fit.scaling * torch.linalg.svdvals(of_A @ of_B.mT)


def _high(values) -> float:
    return values.abs().quantile(0.99).item()


def _told(norm) -> str:
    return "exactly 0" if norm < plots.ENOUGH else f"{norm:.2g}"
