"""Checks of notebook 06: two adapters made one, and a merge that is undone to the last bit."""

from lora_teach.exercises.check import check, compare, expect, finished
from lora_teach.layer import LoRALayer

import torch
from torch import nn

CROSS = (
    "These are means of the A's and of the B's. Their product holds each A with each B, also those that never met in "
    "training. Put the A's side by side and the B's on top of each other: A₁B₁ + A₂B₂ comes out."
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
    for ranks in ((2, 2), (2, 1)):
        layers, weights = _two_layers(ranks), [0.25, 0.75]
        given = f"A @ B from mix(layers, {weights}), two layers of 6 → 5 with ranks {ranks[0]} and {ranks[1]}"
        A, B = _pair(finished(mix(layers, weights)), sum(ranks), given)
        right = sum(weight * layer.delta_weight().T for weight, layer in zip(weights, layers, strict=True))
        compare(A @ B, right, f"{given}, scalings 1.5 and 1", _wrong_mixtures(layers, weights))
        expect(
            A.shape[1] == sum(ranks),
            f"the product is right, with an inner size of {A.shape[1]}; {ranks[0]} + {ranks[1]} is enough.",
        )
    return "one adapter does what the mixture does; its rank is the sum of the two."


@check
def check_undo(merge, unmerge):
    """Check ``merge(linear, layer)``, which returns what ``unmerge(linear, backup)`` needs to restore every bit."""
    pairs = [_trained(seed) for seed in (0, 1)]
    kept = [(linear.weight, linear.weight.detach().clone()) for linear, _ in pairs]
    backups = []
    for (linear, layer), (parameter, old) in zip(pairs, kept, strict=True):
        backups.append(finished(_merged(merge, linear, layer)))
        delta = layer.delta_weight().detach()  # (out_features, in_features)
        mistakes = [
            (old, "The weight has not changed. Add in place: linear.weight += …, or linear.weight.copy_(…)."),
            (delta, "That is the update alone: add it to what is there."),
            (old - delta, "The update was subtracted."),
            (
                old + delta / layer.scaling,
                "The scaling is lost: layer.delta_weight() holds it, the product A B does not.",
            ),
        ]
        compare(linear.weight, old + delta, "linear.weight after merge(linear, layer)", mistakes)
        _check_kept(linear, parameter, "merge")
    for (linear, layer), backup, (parameter, old) in zip(pairs, backups, kept, strict=True):
        try:
            unmerge(linear, backup)
        except TypeError:
            expect(backup is not None, "merge returned nothing. Return what unmerge needs: the weight as it was.")
            raise
        _check_kept(linear, parameter, "unmerge")
        _check_bits(linear.weight.detach(), old, layer.delta_weight().detach())
    return f"all {sum(old.numel() for _, old in kept):,} weights of two layers are back, each to the last bit."


def _two_layers(ranks):
    """Return LoRALayers of 6 → 5 with these ranks, scalings 1.5 and 1, and small whole numbers in A and B."""
    draw = torch.Generator().manual_seed(0)
    layers = []
    for rank, scaling in zip(ranks, (1.5, 1), strict=True):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            layer = LoRALayer(6, 5, rank=rank, alpha=scaling * rank)
            layer.lora_A.copy_(torch.randint(-3, 4, (6, rank), generator=draw))
            layer.lora_B.copy_(torch.randint(-3, 4, (rank, 5), generator=draw))
        layers.append(layer)
    return layers


def _pair(got, rank, given):
    """Return A and B from what the learner's mix returned, if they can be multiplied."""
    tensors = isinstance(got, (tuple, list)) and len(got) == 2 and all(isinstance(one, torch.Tensor) for one in got)
    expect(tensors, f"{given}: return the two tensors A, B; came: {type(got).__name__}")
    A, B = (one.detach() for one in got)
    shapes = tuple(A.shape), tuple(B.shape)
    if shapes == ((12, rank // 2), (rank // 2, 10)):
        hint = "The A's belong side by side, torch.cat(…, dim=1), the B's on top of each other, dim=0."
    elif A.dim() == B.dim() == 2 and shapes[0][0] == 5 and shapes[1][1] == 6:
        hint = "That is B, A; return A, B."
    else:
        hint = "The A's side by side (dim=1), the B's on top of each other (dim=0)."
    fits = A.dim() == B.dim() == 2 and shapes[0][0] == 6 and shapes[1][1] == 5 and shapes[0][1] == shapes[1][0]
    expect(
        fits,
        f"{given}\n  came:     A of shape {shapes[0]}, B of shape {shapes[1]}\n"
        f"  expected: A (6, {rank}), B ({rank}, 5)\n  {hint}",
    )
    return A, B


def _wrong_mixtures(layers, weights):
    """Pairs (a usual wrong product, what to say to who gave it)."""
    A, B = [layer.lora_A.detach() for layer in layers], [layer.lora_B.detach() for layer in layers]
    scales = [layer.scaling for layer in layers]

    def total(factors):
        return sum(factor * a @ b for factor, a, b in zip(factors, A, B, strict=True))

    mistakes = [
        (total(weights), "The scalings are lost: each layer adds scaling · A B, here 1.5 and 1 times."),
        (total(scales), "The weights are lost."),
        (total([1, 1]), "Weights and scalings are lost: each adapter adds weight · scaling · A B."),
        (
            total([weight**2 * scale for weight, scale in zip(weights, scales, strict=True)]),
            "Each weight is there twice, in A and in B. One of the two is enough.",
        ),
        (
            total([weight * scale**2 for weight, scale in zip(weights, scales, strict=True)]),
            "Each scaling is there twice, in A and in B. One of the two is enough.",
        ),
    ]
    if A[0].shape == A[1].shape:
        for power in (0.5, 1):  # PEFT's "linear" takes the roots
            for factors in (weights, [0.5, 0.5]):
                mixed = [weight**power for weight in factors]
                meanA = sum(weight * a for weight, a in zip(mixed, A, strict=True))
                for inner in ([1, 1], scales):
                    meanB = sum(weight * s * b for weight, s, b in zip(mixed, inner, B, strict=True))
                    mistakes.append((meanA @ meanB, CROSS))
                roots = [weight * scale**0.5 for weight, scale in zip(mixed, scales, strict=True)]
                both = [sum(root * one for root, one in zip(roots, of, strict=True)) for of in (A, B)]
                mistakes.append((both[0] @ both[1], CROSS))
    return mistakes


def _trained(seed):
    """Return a frozen nn.Linear of 48 → 32 and a LoRALayer for it whose update is of the weight's own size."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        linear, layer = nn.Linear(48, 32).requires_grad_(False), LoRALayer(48, 32, rank=4, alpha=2)
        layer.lora_B.normal_(0, 0.5)
        return linear, layer


def _merged(merge, linear, layer):
    """Return what the learner's merge returns; PyTorch's complaint about a weight with a history is put in words."""
    try:
        return merge(linear, layer)
    except ValueError as error:
        expect("non-leaf" not in str(error), f"merge could not set linear.weight: {HISTORY}")
        raise


def _check_kept(linear, parameter, where):
    """End the check if the weight is another object than before, or has become part of autograd's graph."""
    expect(
        linear.weight is parameter,
        f"after {where} linear.weight is another Parameter than before: a tied layer or an optimiser would still hold "
        "the old one. Change the numbers in place, with +=, -= or .copy_(…).",
    )
    expect(
        parameter.is_leaf and not parameter.requires_grad,
        f"after {where} the frozen weight requires a gradient: {HISTORY}",
    )


def _check_bits(weight, old, delta):
    """End the check unless ``weight`` is ``old`` to the last bit."""
    other = (weight != old).sum().item()
    if not other:
        return
    given = "linear.weight after unmerge(linear, backup)"
    off = (weight - old).abs().max().item()
    if torch.equal(weight, old + delta):
        why = SAME_MEMORY
    elif off < 1e-5:
        why = (
            "Right to about seven digits, not to the last bit: W + ΔW was rounded, and subtracting ΔW can't bring back "
            "what that lost. Return a copy of the weight from merge, and copy it back."
        )
    else:
        why = "That is not the old weight: return a copy of it from merge, and copy that back."
    expect(
        False,
        f"{given}\n  came:     {other:,} of {weight.numel():,} weights ({other / weight.numel():.0%}) with other bits, "
        f"off by up to {off:.1g}\n  expected: every bit as it was before merge\n  {why}",
    )
