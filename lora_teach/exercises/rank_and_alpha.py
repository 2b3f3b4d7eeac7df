"""Checks of notebook 05: the alpha that keeps a factor when the rank changes, and a scaling that trains."""

from math import sqrt

from lora_teach.exercises.check import check, compare, expect, finished

import torch
from torch import nn


@check
def check_same_factor(same_factor):
    """Check ``same_factor(rule, alpha, rank, new_rank)``: the alpha that gives the new rank the old one's factor."""
    for alpha, rank, new_rank in ((16, 8, 32), (8, 16, 4)):
        ratio = new_rank / rank
        for rule, right in (
            ("alpha/r", alpha * ratio),
            ("alpha/sqrt(r)", alpha * sqrt(ratio)),
            ("alpha", alpha),
        ):
            compare(
                same_factor(rule, alpha, rank, new_rank),
                right,
                f"same_factor({rule!r}, alpha={alpha}, rank={rank}, new_rank={new_rank})",
                _mistakes(rule, alpha, rank, new_rank),
            )
    return "the factor stays under all three rules, to higher ranks and to lower ones."


def _mistakes(rule, alpha, rank, new_rank):
    """The usual wrong answers under this rule, and what to say to each."""
    ratio = new_rank / rank
    factors = {"alpha/r": alpha / rank, "alpha/sqrt(r)": alpha / sqrt(rank), "alpha": alpha}
    own = {
        "alpha/r": [
            (alpha, "With alpha unchanged the factor is divided by more, or less, than before."),
            (alpha * sqrt(ratio), "That keeps the factor under α/√r; here alpha is divided by the rank itself."),
        ],
        "alpha/sqrt(r)": [
            (alpha, "With alpha unchanged the factor changes by the root of the ranks' ratio."),
            (alpha * ratio, "That keeps the factor under α/r; here alpha is divided by the root of the rank."),
            (alpha * sqrt(new_rank), "The old rank has a root as well: the old factor is α/√r, not α."),
        ],
        "alpha": [
            (alpha * ratio, "No rank divides a constant, so nothing has to be made up for."),
            (alpha * sqrt(ratio), "No rank divides a constant, so nothing has to be made up for."),
        ],
    }
    upside_down = "Upside down: the higher the new rank, the larger the alpha that it takes."
    return [
        *own[rule],
        (alpha / ratio, upside_down),
        (alpha / sqrt(ratio), upside_down),
        (factors[rule], "That is the factor; return the alpha that gives it at the new rank."),
    ]


@check
def check_learnable_scaling(layer_class):
    """Check a LoRA layer, ``layer_class(in_features, out_features, rank)``, whose scaling trains with A and B."""
    name = getattr(layer_class, "__name__", "layer_class")
    given = f"{name}(in_features=6, out_features=4, rank=2)"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = finished(layer_class(in_features=6, out_features=4, rank=2))
        x, grad_output = torch.randn(5, 6), torch.randn(5, 4)  # (batch, in_features), (batch, out_features)
        B = torch.randn(2, 4)  # (rank, out_features)
    expect(isinstance(layer, nn.Module), f"{given} is no nn.Module: class …(nn.Module), and super().__init__() first.")
    _check_scaling(layer, given)
    _check_start(layer, given)
    _check_forward(layer, x, B)
    _check_gradients(layer, x, grad_output, B)
    return (
        "it trains with A and B. At step 0 its gradient is exactly zero, since B is: it wakes with A, one step later."
    )


def _check_scaling(layer, given):
    """The scaling is a Parameter of shape (1,) that starts at 1, and the optimiser is given it."""
    scaling = finished(getattr(layer, "scaling", None))
    expect(scaling is not None, f"{given} has no attribute `scaling`.")
    if not isinstance(scaling, nn.Parameter):
        kind = "tensor" if isinstance(scaling, torch.Tensor) else type(scaling).__name__
        expect(
            False,
            f"{given}.scaling is a {kind}, not an nn.Parameter\n"
            "  layer.parameters() leaves it out, so the optimiser is never given it: nn.Parameter(torch.ones(1)).",
        )
    expect(
        any(parameter is scaling for parameter in layer.parameters()),
        f"{given}.scaling is not among layer.parameters(): set it as an attribute, self.scaling = nn.Parameter(…).",
    )
    expect(scaling.requires_grad, f"{given}.scaling has requires_grad=False: it would stand still.")
    expect(
        tuple(scaling.shape) == (1,),
        f"{given}.scaling has the shape {tuple(scaling.shape)}\n  expected: (1,), one number for the layer.",
    )
    compare(scaling, 1.0, f"{given}.scaling, at the start")


def _check_start(layer, given):
    """A is random, B zero, both of the shapes of this course."""
    for name, shape in (("lora_A", (6, 2)), ("lora_B", (2, 4))):
        factor = finished(getattr(layer, name, None))
        expect(
            isinstance(factor, nn.Parameter) and tuple(factor.shape) == shape,
            f"{given}.{name} should be an nn.Parameter of shape {shape}.",
        )
    expect(not layer.lora_B.any(), f"{given}.lora_B starts at something else than zero: a new layer changes nothing.")
    expect(bool(layer.lora_A.any()), f"{given}.lora_A starts at zero, as B does: then nothing ever moves.")


def _check_forward(layer, x, B):
    """The output is scaling · (x A B), for a scaling of 1 and of 3."""
    with torch.no_grad():
        layer.lora_B.copy_(B)
        for scaling in (1.0, 3.0):
            layer.scaling.fill_(scaling)
            update = x @ layer.lora_A @ B  # (batch, out_features)
            mistakes = [
                (update, "The scaling is missing from forward."),
                (scaling**2 * update, "The scaling came in twice: once for the whole update is enough."),
                (scaling * update / 2, "Divided by the rank as well: here the scaling alone is the factor."),
                (update / scaling, "Divided by the scaling: the update is multiplied by it."),
            ]
            compare(layer(x), scaling * update, f"layer(x) with x (5, 6), a B that has learned and scaling {scaling:g}",
                    mistakes)  # fmt: skip
        layer.scaling.fill_(1.0)


def _check_gradients(layer, x, grad_output, B):
    """The scaling gets the gradient of the formula, and at step 0, where B is zero, none."""
    for where, value in (("a B that has learned", B), ("B = 0", torch.zeros_like(B))):
        with torch.no_grad():
            layer.lora_B.copy_(value)
        layer.zero_grad(set_to_none=True)
        layer(x).backward(grad_output)
        right = (grad_output * (x @ layer.lora_A.detach() @ value)).sum().reshape(1)
        expect(
            layer.scaling.grad is not None,
            "the scaling gets no gradient: .item(), .data, .detach() or float() in forward cuts it off.",
        )
        compare(layer.scaling.grad, right, f"the gradient of the scaling, with {where}")
    layer.zero_grad(set_to_none=True)
