"""Checks of notebook 04: the first step's gradients by hand, and an adapter turned down to a limit."""

from math import isfinite

from lora_teach.bases import load_language_adapter, load_name_gpt
from lora_teach.datasets import names
from lora_teach.exercises.check import Draw, attempt, cases, check, compare, describe, expect
from lora_teach.exercises.compare import as_tensor
from lora_teach.measure.strength import strength_path

import torch

STRENGTHS = [step / 10 for step in range(11)]  # 0, 0.1 … 1
TOLERANCE = 0.01  # nats that a strength may be worse than the best of these
SIZES = [(5, 4, 3, 2, 1.5), (3, 6, 6, 4, 0.25), (1, 3, 7, 1, 2.0), (8, 5, 2, 2, 1.0)]  # batch, in, out, rank, scaling


def a_layer(batch, in_features, out_features, rank, scaling, zero_B=False):
    """A layer, x, the gradient of a loss with respect to its output; the layer holds autograd's gradients of A and B.

    Shapes:
        x (batch, in_features), grad_output (batch, out_features).
    """
    draw = Draw(batch)
    layer = draw.layer(in_features, out_features, rank, scaling)
    if zero_B:
        torch.nn.init.zeros_(layer.lora_B)
    x, grad_output = draw.matrix(batch, in_features), draw.matrix(batch, out_features)
    layer(x).backward(grad_output)
    return layer, x, grad_output


@check
def check_gradient_of_B(gradient_of_B):
    """Check ``gradient_of_B(x, A, grad_output, scaling)``, which is ``scaling · (x A)ᵀ grad_output``."""
    for sizes in cases(SIZES):
        layer, x, grad_output = a_layer(*sizes, zero_B=True)
        A, right = layer.lora_A.detach(), layer.lora_B.grad  # (in_features, rank), (rank, out_features)
        mistakes = [
            (right / layer.scaling, "The scaling is lost: B's output is multiplied by it, so its gradient is too."),
            (right * layer.scaling, "The scaling is there twice."),
            (1.5 * right / layer.scaling, "The scaling is another number now: use the argument."),
            (torch.zeros_like(right), "Also zero? That is A's gradient at step 0. B is zero, but x A is not."),
            (0.0, "Also zero? That is A's gradient at step 0. B is zero, but x A is not."),
            (right / len(x), "That is divided by the batch's size: grad_output holds the mean's 1/batch already."),
        ]
        compare(attempt(gradient_of_B, x=x, A=A, grad_output=grad_output, scaling=layer.scaling), right, mistakes)
    return "autograd says the same, for four sizes and scalings."


@check
def check_gradient_of_A(gradient_of_A):
    """Check ``gradient_of_A(x, B, grad_output, scaling)``, which is ``scaling · xᵀ (grad_output Bᵀ)``."""
    for sizes, zero_B in cases([*((sizes, False) for sizes in SIZES), (SIZES[0], True)]):
        layer, x, grad_output = a_layer(*sizes, zero_B=zero_B)
        B, right = layer.lora_B.detach(), layer.lora_A.grad  # (rank, out_features), (in_features, rank)
        mistakes = [
            (torch.zeros_like(right), "Zero is right at step 0, where B is zero; here B is not."),
            (0.0, "Zero is right at step 0, where B is zero; here B is not."),
            (right / layer.scaling, "The scaling is lost: the path from A to the output goes through it."),
            (right * layer.scaling, "The scaling is there twice."),
            (1.5 * right / layer.scaling, "The scaling is another number now: use the argument."),
            (right / len(x), "That is divided by the batch's size: grad_output holds the mean's 1/batch already."),
        ]
        got = attempt(gradient_of_A, x=x, B=B, grad_output=grad_output, scaling=layer.scaling)
        compare(got, right, mistakes, what="where B = 0:" if zero_B else "")
    return "autograd says the same, and at step 0 it is exactly zero."


@check
def check_best_strength(best_strength):
    """Check ``best_strength(model, new, old, limit)``: of the strengths within the limit, the best on ``new``."""
    model = load_language_adapter(load_name_gpt(), "Zulu", "default")
    zulu, english = names.load("Zulu").validation[:20], names.load("English").validation[:30]
    losses = strength_path(model, STRENGTHS, zulu, english)
    turned = [(old, new) for new, old in losses]
    given = [(zulu, english, losses, round(0.02 + losses[at][1], 2)) for at in (6, 3, 8)]
    given += [(english, zulu, turned, round((losses[4][0] + losses[5][0]) / 2, 2))]  # 0.5 and above keep this limit
    for new, old, path, limit in cases(given):
        got = attempt(best_strength, model=model, new=new, old=old, limit=limit)
        number = as_tensor(got)
        expect(
            number is not None and number.numel() == 1 and not isinstance(got, bool) and isfinite(number.item()),
            f"came:     {describe(got)}\n  expected: a strength, a number from 0 to 1.",
        )
        _judge(round(number.item(), 6), strength_path(model, [number.item()], new, old)[0], path, limit)
    return "found for four limits, without training anything."


def _judge(got, losses, path, limit):
    """End the check unless the strength ``got``, with these two losses, is as good as any of ``path``'s."""
    (loss, forgotten), path = losses, dict(zip(STRENGTHS, path, strict=True))
    allowed = {strength: new for strength, (new, old) in path.items() if old <= limit}
    best = min(allowed, key=allowed.get)
    if abs(got - allowed[best]) < TOLERANCE:
        why = "That is the loss there; return the strength."
    elif not 0 <= got <= 1:
        why = "That is none of the strengths 0, 0.1 … 1."
    elif forgotten > limit:
        why = "There `old` is above the limit: leave such strengths out before you look for the lowest loss on `new`."
    elif loss <= allowed[best] + TOLERANCE:
        return
    elif got == 0:
        why = "Strength 0 forgets nothing, and has learned nothing: more is allowed."
    elif got > best:
        why = "Nor is it the greatest strength that is asked for: compare the losses on `new`."
    else:
        why = "It is within the limit, and a greater strength would be too."
    expect(
        False,
        f"came:     ×{got:.3g}, with {loss:.2f} nats on `new` and {forgotten:.2f} on `old`\n"
        f"  expected: ×{best:.3g} or near it, with {allowed[best]:.2f} nats on `new`\n  {why}",
    )
