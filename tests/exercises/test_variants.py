"""Notebook 12's checks: the reference passes, the stub is TODO, each usual mistake is told, unusual right ways pass."""

from lora_teach.exercises import TODO, check_dora_forward, check_nf4

import numpy as np
import pytest
import torch
import torch.nn.functional as F


def there(weight, codes, block_size):
    blocks = weight.reshape(-1, block_size)
    scales = blocks.abs().amax(1)
    shares = blocks / scales.clamp_min(1e-30)[:, None]
    return (shares[..., None] - codes).abs().argmin(-1), scales


def back(indices, scales, codes):
    return codes[indices] * scales[:, None]


def dora(x, W, bias, A, B, magnitude):
    turned = W + (A @ B).T
    length = turned.norm(dim=1, keepdim=True).detach()
    return x @ (magnitude[:, None] * turned / length).T + bias


def test_solutions_pass():
    assert check_nf4(there, back).passed
    assert check_dora_forward(dora).passed


def test_blanks_are_todo():
    assert check_nf4(lambda weight, codes, block_size: (TODO, TODO), back).status == "TODO"
    assert check_nf4(there, lambda indices, scales, codes: TODO).status == "TODO"
    assert check_nf4(lambda weight, codes, block_size: TODO(weight), back).status == "TODO"
    assert check_dora_forward(lambda x, W, bias, A, B, m: x @ TODO(W).T).status == "TODO"


def shares(weight, block_size):
    blocks = weight.reshape(-1, block_size)
    scales = blocks.abs().amax(1)
    return blocks / scales.clamp_min(1e-30)[:, None], scales


def by_middles(weight, codes, block_size):
    share, scales = shares(weight, block_size)
    return torch.bucketize(share, (codes[1:] + codes[:-1]) / 2), scales


def by_loop(weight, codes, block_size):
    rows, scales = [], []
    for start in range(0, weight.numel(), block_size):
        block = weight.flatten()[start : start + block_size]
        scales.append(max(block.abs().max().item(), 0.0))
        rows.append([min(range(len(codes)), key=lambda k: abs(w - codes[k] * scales[-1])) for w in block])
    return torch.tensor(rows), torch.tensor(scales)


def in_weights_shape(weight, codes, block_size):
    indices, scales = there(weight, codes, block_size)
    return indices.reshape(weight.shape), scales[:, None]


def in_bytes(weight, codes, block_size):
    indices, scales = there(weight, codes, block_size)
    return indices.to(torch.uint8), scales


def zeros_with_scale_one(weight, codes, block_size):
    share, scales = shares(weight, block_size)
    return [(share.unsqueeze(-1) - codes).pow(2).argmin(-1), scales]


def by_gather(indices, scales, codes):
    return torch.gather(codes.expand(len(scales), -1), 1, indices) * scales.view(-1, 1)


def by_numpy(indices, scales, codes):
    return torch.from_numpy(codes.numpy()[np.asarray(indices)] * scales.numpy()[:, None])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (by_middles, back),
        (by_loop, back),
        (in_weights_shape, back),
        (in_bytes, lambda indices, scales, codes: codes[indices.long()] * scales[:, None]),
        (zeros_with_scale_one, back),
        (there, by_gather),
        (there, by_numpy),
        (lambda *given: [np.asarray(one) for one in there(*given)], by_numpy),
        (there, lambda indices, scales, codes: torch.einsum("bn,b->bn", codes[indices], scales)),
        (there, lambda indices, scales, codes: (codes[indices] * scales[:, None]).flatten()),
    ],
)
def test_unusual_right_ways_there_and_back_pass(one, other):
    result = check_nf4(one, other)
    assert result.passed, result.message


def indices_as(made):
    """A way there whose scales are right."""
    return lambda weight, codes, block_size: (made(*shares(weight, block_size), codes), shares(weight, block_size)[1])


def scales_as(made):
    """A way there whose scales come from the blocks."""
    return lambda weight, codes, block_size: (
        there(weight, codes, block_size)[0],
        made(weight.reshape(-1, block_size)),
    )


def below(share, scales, codes):
    return torch.searchsorted(codes, share, right=True) - 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (scales_as(lambda blocks: blocks.amax(1)), "not the largest magnitude"),
        (scales_as(lambda blocks: blocks.abs().max().expand(len(blocks))), "each block has its own"),
        (scales_as(lambda blocks: blocks.abs().mean(1)), "the mean magnitude"),
        (scales_as(lambda blocks: blocks.std(1)), "standard deviation"),
        (scales_as(lambda blocks: 1 / blocks.abs().amax(1)), "Upside down"),
        (scales_as(lambda blocks: blocks.norm(dim=1)), "the block's length"),
        (scales_as(lambda blocks: blocks.abs().amax()), "the scales"),
        (indices_as(below), "next code below"),
        (indices_as(lambda *given: (below(*given) + 1).clamp_max(len(given[2]) - 1)), "next code above"),
        (indices_as(lambda s, _, c: ((s + 1) / 2 * (len(c) - 1)).round().long()), "not evenly spaced"),
        (indices_as(lambda s, _, c: (s[..., None] + c).abs().argmin(-1)), "|number − code|"),
        (indices_as(lambda s, _, c: (s[..., None] - c).abs().argmax(-1)), "the farthest code"),
        (indices_as(lambda s, _, c: (s[..., None] - c).argmin(-1)), "abs() before argmin"),
        (indices_as(lambda s, _, c: c[(s[..., None] - c).abs().argmin(-1)]), "not whole"),
        (indices_as(lambda s, _, c: (s[..., None] - c).abs().argmin(-1).sum(1)), "one for each number"),
        (lambda weight, codes, block_size: there(weight, codes, block_size)[0], "returns two things"),
        (lambda weight, codes, block_size: there(weight / 3, codes, block_size), "the scales"),
        (lambda weight, codes, block_size: there(weight.T, codes, block_size), "the scales"),
        (lambda weight, codes, block_size: there(weight.div_(2), codes, block_size), "changed its input weight"),
        (lambda weight, codes, block_size: there(weight, codes, weight.shape[1]), "the scales"),
    ],
)
def test_wrong_ways_there_are_told(wrong, words):
    result = check_nf4(wrong, back)
    assert result.status == "NOT YET" and words in result.message, result.message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda indices, scales, codes: codes[indices], "The scale is missing"),
        (lambda indices, scales, codes: codes[indices] / scales.clamp_min(1e-30)[:, None], "it is multiplied"),
        (lambda indices, scales, codes: codes[indices] * scales.max(), "each block has its own"),
        (lambda indices, scales, codes: indices * scales[:, None], "look the codes up first"),
        (lambda indices, scales, codes: codes[indices].sum(1) * scales, "expected"),
        (lambda indices, scales, codes: codes.flip(0)[indices] * scales[:, None], "expected"),
        (lambda indices, scales, codes: codes[indices] * scales[:, None] + 1e-3, "expected"),
        (lambda indices, scales, codes: (codes[indices] * scales[:, None]).round(), "expected"),
        (lambda indices, scales, codes: None, "is a return missing"),
    ],
)
def test_wrong_ways_back_are_told(wrong, words):
    result = check_nf4(there, wrong)
    assert result.status == "NOT YET" and words in result.message, result.message


def turned_rows(W, A, B):
    turned = W + (A @ B).T
    return turned, turned.norm(dim=1, keepdim=True).detach()


def by_gain(x, W, bias, A, B, m):
    gain = m / turned_rows(W, A, B)[1].flatten()
    return gain * (x @ W.T + x @ A @ B) + bias


def by_rows(x, W, bias, A, B, m):
    turned, length = turned_rows(W, A, B)
    return torch.stack([m[i] / length[i] * (x @ turned[i]) + bias[i] for i in range(len(W))], dim=-1)


def by_what_it_adds(x, W, bias, A, B, m):
    turned, length = turned_rows(W, A, B)
    return F.linear(x, W, bias) + F.linear(x, m[:, None] * turned / length - W)


def without_gradient(x, W, bias, A, B, m):
    with torch.no_grad():
        length = torch.sqrt((W + (A @ B).T).square().sum(1))
    return (x @ (W.T + A @ B)) * (m / length) + bias


@pytest.mark.parametrize(
    "right",
    [
        by_gain,
        by_rows,
        by_what_it_adds,
        without_gradient,
        lambda x, W, bias, A, B, m: F.linear(x, torch.diag(m / turned_rows(W, A, B)[1][:, 0]) @ (W + B.T @ A.T), bias),
        lambda *given: dora(*(one.double() for one in given)),
    ],
)
def test_unusual_right_ways_of_dora_pass(right):
    result = check_dora_forward(right)
    assert result.passed, result.message


def with_weight(made):
    """DoRA with the weight that ``made`` makes of W, A·B turned, its rows' lengths and the magnitude."""

    def forward(x, W, bias, A, B, m):
        turned, length = turned_rows(W, A, B)
        return x @ made(W, turned, length, m[:, None]).T + bias

    return forward


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda x, W, bias, A, B, m: dora(x, W, 0 * bias, A, B, m), "The bias is missing"),
        (
            lambda x, W, bias, A, B, m: dora(x, W, 0 * bias, A, B, m) + m * bias / turned_rows(W, A, B)[1].T,
            "bias was scaled",
        ),
        (with_weight(lambda W, turned, length, m: turned + 0 * m), "That is plain LoRA"),
        (with_weight(lambda W, turned, length, m: m * turned), "not divided by their length"),
        (with_weight(lambda W, t, length, m: m * (W / W.norm(dim=1, keepdim=True) + t - W)), "before the division"),
        (with_weight(lambda W, turned, length, m: m * turned / W.norm(dim=1, keepdim=True)), "it is ‖W + ΔW‖"),
        (with_weight(lambda W, turned, length, m: m * W / length + turned - W), "inside the brackets"),
        (with_weight(lambda W, t, length, m: m * t / t.norm(dim=0, keepdim=True).detach()), "dim=1"),
        (with_weight(lambda W, t, length, m: m * t / t.norm().detach()), "each row has its own"),
        (with_weight(lambda W, turned, length, m: m * turned / length**2), "a root is missing"),
        (lambda x, W, b, A, B, m: x @ W.T + b + m * F.normalize(x @ A @ B, dim=-1), "sample by sample"),
        (lambda x, W, bias, A, B, m: dora(x, W, bias, A, B, m) - x @ W.T - bias, "the whole output is wanted"),
        (with_weight(lambda W, t, length, m: m * t / t.norm(dim=1, keepdim=True)), "a constant to the gradient"),
        (with_weight(lambda W, turned, length, m: m.detach() * turned / length), "gets no gradient"),
        (with_weight(lambda W, turned, length, m: m * turned.detach() / length), "gets no gradient"),
        (with_weight(lambda W, turned, length, m: (m * turned / length).detach()), "gets no gradient"),
        (lambda x, W, bias, A, B, m: dora(x, W, bias, A, B, m.abs().mean() + 0 * m), "expected"),
        (lambda x, W, bias, A, B, m: dora(x, W, bias, A, 2 * B, m), "expected"),
        (lambda x, *given: dora(x.detach(), *given), "x gets no gradient"),
        (lambda x, W, bias, A, B, m: dora(x, W.mul_(2), bias, A, B, m), "changed its input W in place"),
    ],
)
def test_wrong_ways_of_dora_are_told(wrong, words):
    result = check_dora_forward(wrong)
    assert result.status == "NOT YET" and words in result.message, result.message
