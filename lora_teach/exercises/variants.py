"""Exercises of notebook 12: NF4 there and back, and what DoRA's layer computes."""

from lora_teach.bases.quantized import normal_float, quantize
from lora_teach.exercises.check import Draw, attempt, cases, check, compare, expect, run
from lora_teach.exercises.compare import as_tensor

import torch
import torch.nn.functional as F


@check
def check_nf4(there, back):
    """Check ``there(weight, codes, block_size)``, the indices and scales, and ``back(indices, scales, codes)``.

    ``weight`` is a matrix whose numbers fill the blocks; ``indices`` are (blocks, block_size), ``scales`` (blocks,).
    """
    draw = Draw()
    given = [(4, 8, 16, 4), (6, 4, 8, 4), (3, 8, 24, 4), (2, 64, 64, 4), (4, 6, 4, 3), (5, 4, 4, 2)]
    for rows, columns, block_size, bits in cases(given):
        weight, codes = draw.matrix(rows, columns) * 3, normal_float(bits)
        if (rows, columns) == (6, 4):
            weight[2:4] = 0  # a block of zeros has the scale 0
            weight[4, 0] = -9  # the largest magnitude is a negative number
        kept = quantize(weight, bits, block_size, double=False)
        indices, scales = kept.indices.view(-1, block_size).long(), kept.scales
        got = attempt(there, weight=weight, codes=codes, block_size=block_size)
        pair = isinstance(got, (tuple, list)) and len(got) == 2
        expect(pair, "there returns two things: return indices, scales.")
        _compare_scales(got[1], weight.view(-1, block_size), scales)
        blocks = weight.view(-1, block_size) / scales.clamp_min(1e-30)[:, None]  # (blocks, block_size)
        live = scales > 0  # of a block of zeros, any index comes back as zero
        own = _as_indices(got[0], indices.shape)
        compare(own[live], indices[live], _index_mistakes(blocks[live], codes), what="the indices")
        own_back = attempt(back, indices=indices, scales=scales, codes=codes)
        expected = codes[indices] * scales[:, None]  # (blocks, block_size)
        compare(_reshaped(own_back, expected.shape), expected, _back_mistakes(indices, scales, codes))
        whole = run(back, own, torch.as_tensor(got[1]).reshape(-1), codes)
        compare(_reshaped(whole, expected.shape), expected, what="back(*there(weight, codes, block_size), codes)")
    return "no number moves further than half the widest gap between codes, times its block's scale."


def _compare_scales(got, blocks, scales):
    """The scale of a block is its largest magnitude."""
    one_for_all = blocks.abs().max().expand(len(blocks))
    mistakes = [
        (blocks.amax(1), "The largest number is not the largest magnitude: abs() first."),
        (one_for_all, "One scale for the whole weight: each block has its own."),
        (blocks.abs().mean(1), "That is the mean magnitude; the scale is the largest, so that it becomes 1 or −1."),
        (blocks.std(1), "That is the standard deviation; the scale is the largest magnitude."),
        (1 / scales, "Upside down: the numbers are divided by the scale, and multiplied on the way back."),
        (blocks.norm(dim=1), "That is the block's length; the scale is its largest magnitude."),
    ]
    tensor = got.reshape(-1) if isinstance(got, torch.Tensor) and got.numel() == len(scales) else got
    compare(tensor, scales, mistakes, what="the scales")


def _as_indices(got, shape):
    """The learner's indices as (blocks, block_size) of whole numbers."""
    got = as_tensor(got)
    expect(got is not None, "the indices come as a tensor, (blocks, block_size).")
    expect(
        got.numel() == shape.numel(),
        f"the indices have the shape {tuple(got.shape)}: one for each number of the weight, {tuple(shape)}.",
    )
    whole = not got.is_floating_point() or bool((got == got.round()).all())
    expect(whole and not got.is_complex(), "the indices are not whole: return places in codes, not the codes.")
    return got.reshape(shape).long()


def _reshaped(got, shape):
    """A tensor of as many numbers in this shape; anything else as it is."""
    return got.reshape(shape) if isinstance(got, torch.Tensor) and got.numel() == shape.numel() else got


def _index_mistakes(blocks, codes):
    """The usual wrong indices of these blocks, whose largest magnitude is 1."""
    last = len(codes) - 1
    below = torch.searchsorted(codes, blocks, right=True) - 1
    even = ((blocks + 1) / 2 * last).round().long()
    flipped = (blocks[..., None] + codes).abs().argmin(-1)
    return [
        (below, "That is the next code below, not the nearest: a number moves up as well as down."),
        ((below + 1).clamp_max(last), "That is the next code above, not the nearest."),
        (even, "Codes are not evenly spaced: compare with the codes themselves."),
        (flipped, "A sign is wrong: the distance to a code is |number − code|."),
        ((blocks[..., None] - codes).abs().argmax(-1), "That is the farthest code: argmin, not argmax."),
        ((blocks[..., None] - codes).argmin(-1), "The distance has no sign: abs() before argmin."),
    ]


def _back_mistakes(indices, scales, codes):
    """The usual wrong ways back."""
    picked = codes[indices]
    return [
        (picked, "The scale is missing: multiply each block by its own."),
        (picked / scales.clamp_min(1e-30)[:, None], "Divided by the scale: on the way back it is multiplied."),
        (picked * scales.max(), "One scale for all: each block has its own."),
        (indices * scales[:, None], "Those are the indices times the scale: look the codes up first, codes[indices]."),
    ]


@check
def check_dora_forward(dora_forward):
    """Check ``dora_forward(x, W, bias, A, B, magnitude)``: DoRA's whole output at a scaling of 1, and its gradients."""
    draw = Draw(3)
    for rows, in_features, out_features, rank in cases([(5, 6, 4, 2), (3, 4, 7, 1), (1, 5, 5, 3)]):
        x, W, bias = draw.matrix(rows, in_features), draw.matrix(out_features, in_features), draw.matrix(out_features)
        A, B = draw.matrix(in_features, rank), draw.matrix(rank, out_features)
        magnitude = draw.matrix(out_features).abs() + 0.5
        for B_now, where in ((B, "a B that has learned"), (0 * B, "B = 0")):
            length = W.norm(dim=1)  # as DoRA starts: the rows' own lengths
            for m, what in ((magnitude, "magnitudes that have learned"), (length, "the rows' own lengths")):
                _check_output(dora_forward, (x, W, bias, A, B_now, m), f"with {where} and {what}")
    return "the rows are turned by A and B, and m alone says how long they are."


def _check_output(dora_forward, values, where):
    """The output, then the gradients of x, A, B and m, of which the norm is a constant."""
    x, W, bias, *factors = values
    trained = [x, *factors]
    mine = [one.clone().requires_grad_() for one in trained]
    theirs = [one.clone().requires_grad_() for one in trained]
    names = ("x", "A", "B", "magnitude")
    their_x, A, B, magnitude = theirs
    given = {"x": their_x, "W": W, "bias": bias, "A": A, "B": B, "magnitude": magnitude}
    got = attempt(dora_forward, changes=names, **given)
    right = _dora(W, bias, *mine)
    compare(got, right.detach(), _output_mistakes(x, W, bias, *factors), what=f"the output, {where}")
    weights = torch.linspace(-1, 1, right.numel()).view_as(right)
    (right * weights).sum().backward()
    expect(isinstance(got, torch.Tensor) and got.requires_grad, "the output gets no gradient: .detach() cuts it off.")
    run((got.reshape(right.shape) * weights).sum().backward)
    free = [one.detach().clone().requires_grad_() for one in trained]
    (_dora(W, bias, *free, constant=False) * weights).sum().backward()
    for name, own, other, moving in zip(names, theirs, mine, free, strict=True):
        expect(own.grad is not None, f"{name} gets no gradient: .detach() or .data cuts it off.")
        said = "The norm is a constant to the gradient (section 4.3 of the paper): .detach() it, and it alone."
        compare(
            own.grad, other.grad, [(moving.grad, said)], what=f"the gradient of {name}, {where}", rtol=1e-4, atol=1e-5
        )


def _dora(W, bias, x, A, B, m, constant=True):
    """What is right, by the formula."""
    turned = W + (A @ B).T  # (out_features, in_features)
    length = turned.norm(dim=1, keepdim=True)  # (out_features, 1)
    return x @ (m[:, None] * turned / (length.detach() if constant else length)).T + bias


def _output_mistakes(x, W, bias, A, B, m):
    """The usual wrong outputs."""
    update = (A @ B).T
    turned = W + update
    rows = turned.norm(dim=1, keepdim=True)
    weight = m[:, None] * turned / rows
    right = x @ weight.T
    unit = F.normalize(x @ A @ B, dim=-1)
    columns = turned.norm(dim=0, keepdim=True)
    mistakes = [
        (right, "The bias is missing: DoRA leaves it as it is, and the output has it."),
        (m * (x @ turned.T + bias) / rows.T, "The bias was scaled too: the magnitude is the weight's alone."),
        (x @ turned.T + bias, "That is plain LoRA: the rows are not yet given the lengths m."),
        (x @ (m[:, None] * turned).T + bias, "The rows are not divided by their length before m makes them as long."),
        (
            x @ (m[:, None] * (W / W.norm(dim=1, keepdim=True) + update)).T + bias,
            "ΔW is turned in before the division.",
        ),
        (x @ (m[:, None] * turned / W.norm(dim=1, keepdim=True)).T + bias, "Divided by ‖W‖; it is ‖W + ΔW‖."),
        (x @ (m[:, None] * W / rows).T + x @ A @ B + bias, "ΔW belongs inside the brackets, and is scaled with W."),
        (x @ (m[:, None] * turned / columns).T + bias, "The norm is of each row of W + ΔW, (out, 1): dim=1."),
        (x @ (m[:, None] * turned / turned.norm()).T + bias, "One norm for the whole weight: each row has its own."),
        (x @ W.T + bias + m * unit, "The adapter's output was normalised, sample by sample; DoRA normalises weights."),
        (x @ (m[:, None] * turned / rows.square()).T + bias, "Divided by the squared norm: a root is missing."),
        (right - x @ W.T, "That is what DoRA adds; here the whole output is wanted, W x and the bias with it."),
    ]
    return mistakes
