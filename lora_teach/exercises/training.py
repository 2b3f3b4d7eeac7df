"""Checks of notebook 04: the first step's gradients by hand, and an adapter turned down to a limit."""

from math import isfinite
from numbers import Real

from lora_teach.bases import load_language_adapter, load_name_gpt
from lora_teach.datasets import names
from lora_teach.exercises.check import check, compare, expect, finished
from lora_teach.layer import LoRALayer
from lora_teach.measure.strength import strength_path

import torch

STRENGTHS = [step / 10 for step in range(11)]  # 0, 0.1 … 1
TOLERANCE = 0.01  # nats that a strength may be worse than the best of these


def a_layer(alpha=3, zero_B=True):
    """A layer of rank 2, x, the gradient of a loss with respect to its output, and autograd's gradients of A and B.

    Shapes:
        x (5, 4), grad_output (5, 3), lora_A (4, 2), lora_B (2, 3).
    """
    draw = torch.Generator().manual_seed(0)
    whole = lambda *shape: torch.randint(-3, 4, shape, generator=draw).float()  # noqa: E731  small whole numbers to read
    layer = LoRALayer(4, 3, rank=2, alpha=alpha)
    with torch.no_grad():
        layer.lora_A.copy_(whole(4, 2))
        layer.lora_B.copy_(whole(2, 3) * (not zero_B))
    x, grad_output = whole(5, 4), whole(5, 3)  # (batch, in_features), (batch, out_features)
    layer(x).backward(grad_output)
    return layer, x, grad_output


@check
def check_gradient_of_B(gradient_of_B):
    """Check ``gradient_of_B(x, A, grad_output, scaling)``, which is ``scaling · (x A)ᵀ grad_output``."""
    for alpha in (3, 2):
        layer, x, grad_output = a_layer(alpha)
        A, right = layer.lora_A.detach(), layer.lora_B.grad  # (in_features, rank), (rank, out_features)
        got = gradient_of_B(x, A, grad_output, layer.scaling)
        mistakes = [
            (right / layer.scaling, "The scaling is lost: B's output is multiplied by it, so its gradient is too."),
            (right * layer.scaling, "The scaling is there twice."),
            (torch.zeros(2, 3), "Also zero? That is A's gradient at step 0. B is zero, but x A is not."),
            (0.0, "Also zero? That is A's gradient at step 0. B is zero, but x A is not."),
            (right / len(x), "That is divided by the batch's size: grad_output holds the mean's 1/batch already."),
        ]
        compare(got, right, f"gradient_of_B with x (5, 4), A (4, 2), grad_output (5, 3), scaling {alpha}/2", mistakes)
    return "autograd says the same, with a scaling of 1 and of 1.5."


@check
def check_gradient_of_A(gradient_of_A):
    """Check ``gradient_of_A(x, B, grad_output, scaling)``, which is ``scaling · xᵀ (grad_output Bᵀ)``."""
    for zero_B in (False, True):
        layer, x, grad_output = a_layer(zero_B=zero_B)
        B, right = layer.lora_B.detach(), layer.lora_A.grad  # (rank, out_features), (in_features, rank)
        got = gradient_of_A(x, B, grad_output, layer.scaling)
        mistakes = [
            (torch.zeros(4, 2), "Zero is right at step 0, where B is zero; here B is not."),
            (0.0, "Zero is right at step 0, where B is zero; here B is not."),
            (right / layer.scaling, "The scaling is lost: the path from A to the output goes through it."),
        ]
        where = "B = 0" if zero_B else "a B that has learned"
        compare(got, right, f"gradient_of_A with x (5, 4), {where} (2, 3), grad_output (5, 3), scaling 1.5", mistakes)
    return "autograd says the same, and at step 0 it is exactly zero."


@check
def check_best_strength(best_strength):
    """Check ``best_strength(model, new, old, limit)``: of the strengths within the limit, the best on ``new``."""
    model = load_language_adapter(load_name_gpt(), "Zulu", "default")
    new, old = names.load("Zulu").validation[:40], names.load("English").validation[:80]
    before = [parameter.detach().clone() for parameter in model.lora_layers.parameters()]
    path = dict(zip(STRENGTHS, strength_path(model, STRENGTHS, new, old), strict=True))
    for share in (0.6, 0.3):
        limit = round((1 - share) * path[0.0][1] + share * path[1.0][1], 2)
        got = finished(best_strength(model, new, old, limit))
        expect(
            all(map(torch.equal, model.lora_layers.parameters(), before)),
            "the adapter's own numbers have changed: no training is needed, set_adapter({'default': strength}) scales "
            "what is there.",
        )
        given = f"best_strength(model, Zulu names, English names, limit={limit})"
        expect(
            isinstance(got, Real) and not isinstance(got, bool) and isfinite(got),
            f"{given}\n  came:     {got!r}\n  expected: a strength, a number from 0 to 1.",
        )
        _judge(float(got), strength_path(model, [float(got)], new, old)[0], path, limit, given)
    zulu_limit = round((path[0.4][0] + path[0.5][0]) / 2, 2)  # now 0.5 and above keep the limit, and 0.5 is the best
    got = best_strength(model, old, new, zulu_limit)
    expect(
        isinstance(got, Real) and abs(got - 0.5) < 0.06,
        f"best_strength(model, English names, Zulu names, limit={zulu_limit})\n"
        f"  came:     {got!r}\n  expected: 0.5\n"
        "  With the lists changed round, the smallest strength within the limit is best: compare losses on `new`.",
    )
    return "found for three limits, without training anything."


def _judge(got, losses, path, limit, given):
    """End the check unless the strength ``got``, with these two losses, is as good as any of ``path``'s."""
    loss, english = losses
    allowed = {strength: new for strength, (new, old) in path.items() if old <= limit}
    best = min(allowed, key=allowed.get)
    if abs(got - allowed[best]) < TOLERANCE:
        why = "That is the loss there; return the strength."
    elif english > limit:
        why = "English is above the limit: leave such strengths out before you look for the lowest loss on Zulu."
    elif loss <= allowed[best] + TOLERANCE:
        return
    elif got == 0:
        why = "Strength 0 forgets nothing, and has learned nothing: more is allowed."
    else:
        why = "English is within the limit, and a greater strength would be too."
    expect(
        False,
        f"{given}\n  came:     ×{got:.3g}, with {loss:.2f} nats on Zulu and {english:.2f} on English\n"
        f"  expected: ×{best:.3g} or near it, with {allowed[best]:.2f} nats on Zulu\n  {why}",
    )
