"""Checks of notebook 05: the alpha that keeps a factor when the rank changes, and a scaling that trains."""

from math import sqrt

from lora_teach.exercises.check import Draw, attempt, cases, check, compare, expect, run
from lora_teach.exercises.todo import finished

import torch
from torch import nn


@check
def check_same_factor(same_factor):
    """Check ``same_factor(rule, alpha, rank, new_rank)``: the alpha that gives the new rank the old one's factor."""
    given = [(16, 8, 32), (8, 16, 4), (16, 8, 12), (10.5, 6, 64), (1, 3, 2)]
    for rule, alpha, rank, new_rank in cases([(rule, *one) for one in given for rule in _RULES]):
        divisor = _RULES[rule]
        got = attempt(same_factor, rule=rule, alpha=alpha, rank=rank, new_rank=new_rank)
        compare(got, float(alpha * divisor(new_rank) / divisor(rank)), _mistakes(rule, alpha, rank, new_rank))
    return "the factor stays under all three rules, to higher ranks and to lower ones."


_RULES = {"alpha/r": lambda rank: rank, "alpha/sqrt(r)": sqrt, "alpha": lambda rank: 1}


def _mistakes(rule, alpha, rank, new_rank):
    """The usual wrong answers under this rule, and what to say to each."""
    ratio, divisor = new_rank / rank, _RULES[rule]
    right = alpha * divisor(new_rank) / divisor(rank)
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
        (alpha / divisor(rank), "That is the factor; return the alpha that gives it at the new rank."),
        *((made(right), "An alpha needn't be a whole number: neither round nor cut it.") for made in (int, round)),
    ]


@check
def check_learnable_scaling(layer_class):
    """Check a LoRA layer, ``layer_class(in_features, out_features, rank)``, whose scaling trains with A and B."""
    for in_features, out_features, rank, scaling in cases([(6, 4, 2, 3.0), (5, 7, 3, 0.5), (4, 4, 1, -1.5)]):
        sizes = {"in_features": in_features, "out_features": out_features, "rank": rank}
        layer, other = attempt(layer_class, **sizes), run(layer_class, in_features, out_features, rank)
        expect(isinstance(layer, nn.Module), "That is no nn.Module: class …(nn.Module), and super().__init__() first.")
        _check_parameters(layer, (in_features, rank), (rank, out_features))
        expect(
            not torch.equal(layer.lora_A, other.lora_A),
            "Two new layers have the same lora_A: draw it anew for each layer, without a constant or a seed.",
        )
        draw = Draw(in_features)
        A, B, inputs = draw.matrix(in_features, rank), draw.matrix(rank, out_features), draw.matrix(3, 5, in_features)
        for values, where in (((A, B, scaling), "a B that has learned"), ((A, 0 * B, 1.0), "B = 0")):
            for x in (inputs[0], inputs):
                _check_step(layer, values, x, draw.matrix(*x.shape[:-1], out_features), where)
    return (
        "it trains with A and B. At step 0 its gradient is exactly zero, since B is: it wakes with A, one step later."
    )


def _check_parameters(layer, A, B):
    """All three are Parameters that train, of the right shapes, and start where they should."""
    mine = [id(parameter) for parameter in layer.parameters()]
    for name, shape in (("scaling", (1,)), ("lora_A", A), ("lora_B", B)):
        value = finished(getattr(layer, name, None))
        expect(value is not None, f"the layer has no attribute `{name}`.")
        kind = "tensor" if isinstance(value, torch.Tensor) else type(value).__name__
        expect(
            isinstance(value, nn.Parameter),
            f"{name} is a {kind}, not an nn.Parameter\n"
            f"  layer.parameters() leaves it out, so the optimiser is never given it: self.{name} = nn.Parameter(…).",
        )
        expect(id(value) in mine, f"{name} is not among layer.parameters(): set it as an attribute, self.{name} = ….")
        expect(value.requires_grad, f"{name} has requires_grad=False: it would stand still.")
        one = name == "scaling" and value.numel() == 1
        expect(one or value.shape == shape, f"{name} has the shape {tuple(value.shape)}\n  expected: {shape}")
    compare(layer.scaling, 1.0, what="the scaling, at the start")
    expect(not layer.lora_B.any(), "lora_B starts at something else than zero: a new layer changes nothing.")
    expect(bool(layer.lora_A.any()), "lora_A starts at zero, as B does: then nothing ever moves.")


def _check_step(layer, values, x, grad_output, where):
    """The output is scaling · (x A B), and so are the gradients of all three."""
    parameters = {"lora_A": layer.lora_A, "lora_B": layer.lora_B, "scaling": layer.scaling}
    with torch.no_grad():
        for parameter, value in zip(parameters.values(), values, strict=True):
            parameter.copy_(torch.as_tensor(value))
    A, B, scaling = (parameter.detach().float().clone().requires_grad_() for parameter in parameters.values())
    update = x @ A @ B  # (…, out_features)
    right = scaling * update
    mistakes = [
        (update, "The scaling is missing from forward."),
        (scaling * right, "The scaling came in twice: once for the whole update is enough."),
        (right / A.shape[1], "Divided by the rank as well: here the scaling alone is the factor."),
        (update / scaling, "Divided by the scaling: the update is multiplied by it."),
    ]
    layer.zero_grad(set_to_none=True)
    own = x.clone()
    got = run(layer, own)
    expect(torch.equal(own, x), "forward changed its input in place: compute with it, and leave it as it is.")
    compare(got, right, mistakes, what=f"layer(x) with x {tuple(x.shape)}, {where} and scaling {scaling.item():g}")
    right.backward(grad_output)
    cut_off = "gets no gradient: .item(), .data, .detach(), float() or no_grad in forward cuts it off."
    expect(isinstance(got, torch.Tensor) and got.requires_grad, f"the output {cut_off}")
    run((got * grad_output).sum().backward)
    for (name, parameter), value in zip(parameters.items(), (A, B, scaling), strict=True):
        expect(parameter.grad is not None, f"{name} {cut_off}")
        compare(parameter.grad, value.grad, what=f"the gradient of {name}, with {where}", rtol=1e-4, atol=1e-5)
