"""Checks of notebook 06: two adapters made one, and a merge that is undone to the last bit."""

from itertools import product

from lora_teach.exercises.check import Draw, attempt, cases, check, compare, expect
from lora_teach.exercises.compare import as_tensor

import torch
from torch import nn

CROSS = (
    "These are sums or means of the A's and of the B's. Their product holds each A with each B, also those that never "
    "met in training. Put the A's side by side and the B's on top of each other: A₁B₁ + A₂B₂ comes out."
)
HISTORY = (
    "it was computed from A and B, which train, and became part of their gradient's graph. Work within torch.no_grad()."
)
SAME_MEMORY = (
    "unmerge gave the merged weight back: the backup lies in the weight's own memory (.detach() and .data do), so it "
    "was merged too. Take a .clone() before merging."
)


@check
def check_mix(mix):
    """Check ``mix(layers, weights)``: the A and B of one adapter whose product is the weighted sum of the layers'."""
    draw = Draw()
    for ranks, weights in cases(
        [((2, 2), [0.25, 0.75]), ((2, 1), [0.25, 0.75]), ((1, 3, 2), [0.5, -1.2, 0.9]), ((3,), [0.4])]
    ):
        layers = [draw.layer(6, 5, rank, scaling) for rank, scaling in zip(ranks, (1.5, 1, 0.5), strict=False)]
        A, B = _pair(attempt(mix, layers=layers, weights=weights), sum(ranks), len(ranks))
        right = sum(weight * layer.delta_weight().T for weight, layer in zip(weights, layers, strict=True))
        compare(A.float() @ B.float(), right, _wrong_mixtures(layers, weights), what="A @ B")
        expect(
            A.shape[1] <= sum(ranks),
            f"the product is right, with an inner size of {A.shape[1]}; {' + '.join(map(str, ranks))} is enough.",
        )
    return "one adapter does what the mixture does; its rank is the sum of the two."


@check
def check_undo(merge, unmerge):
    """Check ``merge(linear, layer)``, which returns what ``unmerge(linear, backup)`` needs to restore every bit."""
    draw = Draw()
    pairs = [
        _trained(draw, *sizes) for sizes in ((20, 30, 3, 2, False), (48, 32, 4, 0.5, True), (48, 32, 4, 0.5, True))
    ]
    kept = [(linear.weight, linear.weight.detach().clone()) for linear, _ in pairs]
    biases = [None if linear.bias is None else linear.bias.detach().clone() for linear, _ in pairs]
    merged, backups = [], []
    for (linear, layer), (parameter, old), bias in cases(list(zip(pairs, kept, biases, strict=True))):
        delta = layer.delta_weight().detach()  # (out_features, in_features)
        backups.append(_merged(merge, linear, layer))
        mistakes = [
            (old, "The weight has not changed. Add in place: linear.weight += …, or linear.weight.copy_(…)."),
            (delta, "That is the update alone: add it to what is there."),
            (old - delta, "The update was subtracted."),
            (
                old + delta / layer.scaling,
                "The scaling is lost: layer.delta_weight() holds it, the product A B does not.",
            ),
            (old + delta * layer.scaling, "The scaling is there twice: layer.delta_weight() holds it already."),
        ]
        compare(linear.weight, old + delta, mistakes, what="linear.weight after merge")
        _check_kept(linear, parameter, bias, "merge")
        merged.append(linear.weight.detach().clone())
    for (linear, _), backup, (parameter, old), after, bias in cases(
        list(zip(pairs, backups, kept, merged, biases, strict=True))[::-1]
    ):
        try:
            attempt(unmerge, ("linear", "backup"), linear=linear, backup=backup)
        except TypeError:
            expect(backup is not None, "merge returned nothing. Return what unmerge needs: the weight as it was.")
            raise
        _check_kept(linear, parameter, bias, "unmerge")
        _check_bits(linear.weight.detach(), old, after, _shares_memory(backup, linear.weight))
    return f"all {sum(old.numel() for _, old in kept):,} weights of three layers are back, each to the last bit."


def _pair(got, rank, count):
    """Return A and B from what the learner's mix returned, if they can be multiplied."""
    pair = list(map(as_tensor, got)) if isinstance(got, (tuple, list)) and len(got) == 2 else [None]
    expect(not any(one is None for one in pair), f"return the two tensors A, B; came: {type(got).__name__}")
    A, B = pair
    expect(
        not A.is_complex() and not B.is_complex(), "The numbers are complex: a root of a negative weight has no place."
    )
    shapes = tuple(A.shape), tuple(B.shape)
    if shapes == ((6 * count, rank // count), (rank // count, 5 * count)):
        hint = "The A's belong side by side, torch.cat(…, dim=1), the B's on top of each other, dim=0."
    elif A.dim() == B.dim() == 2 and (shapes[0][1], shapes[1][0]) == (5, 6):
        hint = "That is B, A; return A, B."
    elif A.dim() == B.dim() == 2 and (shapes[0][0], shapes[1][1]) == (5, 6):
        hint = "Their product is the update as a weight, (out, in). A @ B is wanted, (in, out)."
    else:
        hint = "The A's side by side (dim=1), the B's on top of each other (dim=0)."
    fits = A.dim() == B.dim() == 2 and shapes[0][0] == 6 and shapes[1][1] == 5 and shapes[0][1] == shapes[1][0]
    expect(
        fits,
        f"came:     A of shape {shapes[0]}, B of shape {shapes[1]}\n  expected: A (6, {rank}), B ({rank}, 5)\n  {hint}",
    )
    return A, B


def _wrong_mixtures(layers, weights):
    """Pairs (a usual wrong product, what to say to who gave it)."""
    A, B = [layer.lora_A.detach() for layer in layers], [layer.lora_B.detach() for layer in layers]
    scales, ones = [layer.scaling for layer in layers], [1] * len(layers)

    def total(*of):
        return sum(torch.tensor(factors).prod() * a @ b for *factors, a, b in zip(*of, A, B, strict=True))

    mistakes = [
        (total(weights), f"The scalings are lost: each layer adds scaling · A B, here {_listed(scales)} times."),
        (total(scales), "The weights are lost."),
        (total(ones), "Weights and scalings are lost: each adapter adds weight · scaling · A B."),
        (total(weights, weights, scales), "Each weight is there twice, in A and in B. One of the two is enough."),
        (total(weights, weights, scales, scales), "Weight and scaling are there twice, in A and in B. Once is enough."),
        (total(weights, scales, scales), "Each scaling is there twice, in A and in B. One of the two is enough."),
    ]
    if len(layers) > 1:
        shares = [weight / sum(weights) for weight in weights]
        mistakes += [
            (total(shares, scales), "The weights were made to add up to 1: take them as they are."),
            (total([*weights[:1], 1 - weights[0]] + [0] * len(weights[2:]), scales), "All layers count, each with its "
             "own weight: there may be more than two, and the weights needn't add up to 1."),
            (total([*weights[:2]] + [0] * len(weights[2:]), scales), "There may be more than two layers."),
        ]  # fmt: skip
    if len(layers) > 1 and len({a.shape for a in A}) == 1 and min(weights) >= 0:
        shares = [ones, weights, [1 / len(layers)] * len(layers)]
        factors = [  # PEFT's "linear" takes the roots
            torch.tensor(share) ** power * torch.tensor(scales) ** inner
            for share in shares for power in (0.5, 1) for inner in (0, 0.5, 1)
        ]  # fmt: skip
        left, right = ([torch.einsum("l,lij->ij", one, torch.stack(of)) for one in factors] for of in (A, B))
        mistakes += [(a @ b, CROSS) for a, b in product(left, right)]
    return mistakes


def _listed(numbers):
    return " and ".join(f"{number:g}" for number in numbers)


def _trained(draw, in_features, out_features, rank, scaling, bias):
    """Return a frozen nn.Linear and a LoRALayer for it whose update is of the weight's own size."""
    linear = nn.Linear(in_features, out_features, bias=bias).requires_grad_(False)
    linear.weight.copy_(draw.matrix(out_features, in_features) / in_features**0.5)
    layer = draw.layer(in_features, out_features, rank, scaling)
    with torch.no_grad():
        layer.lora_A.mul_(0.1)
    return linear, layer


def _merged(merge, linear, layer):
    """Return what the learner's merge returns; PyTorch's complaint about a weight with a history is put in words."""
    try:
        return attempt(merge, ("linear",), linear=linear, layer=layer)
    except (ValueError, RuntimeError) as error:
        history = "non-leaf" in str(error) or "a leaf Variable" in str(error)
        expect(not history, f"merge could not set linear.weight: {HISTORY}")
        raise


def _check_kept(linear, parameter, bias, where):
    """End the check if the weight is another object, or part of autograd's graph, or the bias has changed."""
    expect(
        linear.weight is parameter,
        f"after {where} linear.weight is another Parameter than before: a tied layer or an optimiser would still hold "
        "the old one. Change the numbers in place, with +=, -= or .copy_(…).",
    )
    expect(
        parameter.is_leaf and not parameter.requires_grad,
        f"after {where} the frozen weight requires a gradient: {HISTORY}",
    )
    same = linear.bias is None if bias is None else linear.bias is not None and torch.equal(linear.bias, bias)
    expect(same, f"after {where} the bias is another: an adapter has none, so only the weight changes.")


def _shares_memory(backup, weight):
    """Tell whether the backup, or a tensor in it, lies in the weight's memory."""
    parts = backup.values() if isinstance(backup, dict) else backup if isinstance(backup, (list, tuple)) else [backup]
    tensors = [part for part in parts if isinstance(part, torch.Tensor)]
    return any(part.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr() for part in tensors)


def _check_bits(weight, old, merged, same_memory):
    """End the check unless ``weight`` is ``old`` to the last bit; ``merged`` is what it was before unmerge."""
    other = (weight != old).sum().item()
    if not other:
        return
    off = (weight - old).abs().max().item()
    if torch.equal(weight, merged):
        why = SAME_MEMORY if same_memory else "unmerge changed nothing: the weight is still as merge made it."
    elif off < 1e-5:
        why = (
            "Right to about seven digits, not to the last bit: W + ΔW was rounded, and subtracting ΔW can't bring back "
            "what that lost. Return a copy of the weight from merge, and copy it back."
        )
    else:
        why = "That is not the old weight: return a copy of it from merge, and copy that back."
    expect(
        False,
        f"linear.weight after unmerge\n"
        f"  came:     {other:,} of {weight.numel():,} weights ({other / weight.numel():.0%}) with other bits, "
        f"off by up to {off:.1g}\n  expected: every bit as it was before merge\n  {why}",
    )
