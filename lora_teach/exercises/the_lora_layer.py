"""The check of notebook 02: a LoRA layer from nothing."""

from lora_teach.exercises.check import Draw, attempt, cases, check, compare, describe, expect, run
from lora_teach.exercises.todo import finished

import torch
from torch import nn

SIZES = [(96, 40, 8, 16), (30, 30, 5, 5), (50, 70, 4, 1), (64, 32, 2, 7)]  # in_features, out_features, rank, alpha


@check
def check_layer(MyLayer):
    """Check a class with lora_A, lora_B, scaling, forward and delta_weight."""
    for in_features, out_features, rank, alpha in cases(SIZES):
        sizes = {"in_features": in_features, "out_features": out_features, "rank": rank, "alpha": alpha}
        layer = attempt(MyLayer, **sizes)
        expect(isinstance(layer, nn.Module), f"MyLayer is an nn.Module; came: {describe(layer)}")
        _check_start(layer, attempt(MyLayer, **sizes), in_features, out_features, rank)
        _check_scaling(layer, rank, alpha)
        _check_answers(layer, in_features, out_features, alpha / rank)
    return "right shapes, a start at zero, s · x A B, and as a weight (out_features, in_features)."


def _check_start(layer, another, in_features, out_features, rank):
    """A is uniform and new each time, B is zero, and the two are all that trains."""
    for name, shape in (("lora_A", (in_features, rank)), ("lora_B", (rank, out_features))):
        factor = finished(getattr(layer, name, None))
        expect(
            isinstance(factor, nn.Parameter),
            f"{name} is an nn.Parameter, so that an optimiser finds it; came: {describe(factor)}",
        )
        turned = tuple(factor.shape) == shape[::-1] != shape
        hint = "\n  That is the paper's orientation: here x, a row, meets A first." if turned else ""
        expect(tuple(factor.shape) == shape, f"{name} has shape {shape}; it came as {tuple(factor.shape)}{hint}")
        expect(factor.requires_grad, f"{name} trains: it came with requires_grad=False.")
    extra = [name for name, _ in layer.named_parameters() if name not in ("lora_A", "lora_B")]
    why = "The scaling is a fixed number here." if "scaling" in extra else "The frozen weight and bias stay outside."
    expect(not extra, f"lora_A and lora_B are all that trains; there is {extra[0] if extra else ''} too. {why}")
    A, B = layer.lora_A.detach(), layer.lora_B.detach()
    both = "With B = 0 too, neither would ever get a gradient." if not B.any() else "Here it is the other way round."
    expect(A.any().item(), f"A is zero at the start. {both} A is random and B zero.")
    expect(not B.any(), "B is not zero at the start: a new layer would change the model before it has learnt anything.")
    bound = in_features**-0.5
    ratio = A.abs().max().item() / bound
    known = {
        (in_features / rank) ** 0.5: "That is what kaiming_uniform_ gives here: it takes the rank for the inputs.",
    }
    said = next((why for wrong, why in known.items() if abs(ratio / wrong - 1) < 0.1), "")
    is_uniform = 0.8 < A.std().item() / (bound / 3**0.5) < 1.2 and ratio < 1.001
    low = f"A lies between {A.min().item():.3f} and {A.max().item():.3f}, with a deviation of {A.std().item():.3f}"
    expect(is_uniform, f"{low}; uniform within ±1/√in_features is ±{bound:.3f} with {bound / 3**0.5:.3f}. {said}")
    alike = torch.linalg.matrix_rank(A).item() < rank
    expect(not alike, "The columns of A are multiples of each other: draw each of its numbers by itself.")
    expect(
        not torch.equal(A, another.lora_A), "Two new layers have the same A: draw it anew each time, without a seed."
    )


def _check_scaling(layer, rank, alpha):
    mistakes = [
        (float(alpha), "Divide by the rank: s = α/r."),
        (rank / alpha, "The wrong way round: α/r."),
        (alpha / rank**0.5, "That is α/√r, another rule; here it is α/r."),
        (float(alpha // rank), "That is rounded down: / divides, and // rounds."),
        (1.0, "The alpha was not used."),
    ]
    scaling = finished(getattr(layer, "scaling", None))
    compare(scaling, alpha / rank, mistakes, what="layer.scaling")


def _check_answers(layer, in_features, out_features, scaling):
    """Forward and delta_weight of a layer that has learnt, and the gradients."""
    draw = Draw(in_features)
    with torch.no_grad():
        layer.lora_B.copy_(draw.matrix(*layer.lora_B.shape))
    A, B = layer.lora_A, layer.lora_B
    for x in (draw.matrix(3, in_features), draw.matrix(2, 5, in_features)):
        right = (scaling * (x @ A @ B)).detach()
        wrong = [
            (right / scaling, "The scaling is missing."),
            (right * scaling, "The scaling is there twice."),
            (
                torch.zeros_like(right),
                "That is the update at the start: use A and B as they are when forward is called.",
            ),
            (scaling * torch.relu(x @ A) @ B, "There is nothing between A and B, or the two could not be merged."),
        ]
        if in_features == out_features:
            wrong.append(
                (x + right, "The input was added: the update alone comes back, the frozen layer is elsewhere.")
            )
        given = x.clone().requires_grad_(False)
        y = finished(run(layer, given))
        expect(torch.equal(given, x), "forward changed its input in place: work on a copy of it.")
        compare(y, right, [(w.detach(), said) for w, said in wrong], what=f"layer(x), x of shape {tuple(x.shape)}",
                rtol=1e-4, atol=1e-4)  # fmt: skip
        parts = torch.autograd.grad(y.sum(), (A, B), allow_unused=True) if y.requires_grad else (None, None)
        expect(None not in parts, "A or B gets no gradient: leave .detach(), .data and no_grad out of forward.")
        earlier = x.clone().requires_grad_()  # as it comes from a layer below, whose own A and B train too
        y = run(layer, earlier)
        parts = torch.autograd.grad(y.sum(), earlier, allow_unused=True)
        expect(None not in parts, "x gets no gradient, so no layer below could learn: leave .detach() out of forward.")
    expect(hasattr(layer, "delta_weight"), "delta_weight is missing.")
    right = (scaling * (A @ B).T).detach()
    mistakes = [
        (right.T, "nn.Linear keeps its weight as (out_features, in_features): turn A·B with .T."),
        (right / scaling, "The scaling is missing: forward multiplies by it too."),
        (right.T / scaling, "The scaling is missing, and nn.Linear keeps its weight as (out_features, in_features)."),
        (right * scaling, "The scaling came in twice."),
    ]
    compare(finished(run(layer.delta_weight)), right, mistakes, what="layer.delta_weight()", rtol=1e-4, atol=1e-5)
    same = torch.equal(scaling * (A @ B).T, right)
    expect(same, "delta_weight changed A or B: it returns the update and leaves the two alone.")
    with torch.no_grad():
        B.mul_(2)
    mistakes = [(right, "That is the update of before: compute it from A and B as they are at each call.")]
    compare(run(layer.delta_weight), 2 * right, mistakes, what="layer.delta_weight() after B has doubled", rtol=1e-4)
