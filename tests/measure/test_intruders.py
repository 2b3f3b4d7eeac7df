"""Intruder dimensions and amplification: against slow implementations, PEFT's, and cases with a known answer."""

import math

from lora_teach.measure import (
    amplification,
    intruder_dimensions,
    nearest_cosines,
    random_cosine,
    shrink_intruders,
    spectrum,
    truncate,
)
from lora_teach.measure.intruders import intruder_part

import pytest
import torch
from torch import nn


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def basis(size, seed):
    return torch.linalg.qr(some(size, size, seed=seed)).Q


def planted(size=8, strength=20.0, seed=0):
    """A weight with σ = size … 1, and the same plus one direction that mixes all of its own evenly."""
    U, V = basis(size, seed), basis(size, seed + 1)
    W0 = U @ torch.diag(torch.arange(size, 0, -1, dtype=torch.float64)) @ V.T
    new = U @ torch.ones(size, dtype=torch.float64) / size**0.5
    return W0, W0 + strength * torch.outer(new, V[:, -1]), new


def slow_cosines(W0, W1, k):
    """One pair after another; left singular vectors from the eigenvectors of W Wᵀ."""
    wide = min(W0.shape)
    old, new = (torch.linalg.eigh(W @ W.T).eigenvectors.flip(1)[:, :wide] for W in (W0, W1))
    return [max(abs(float(torch.dot(new[:, j], old[:, i]))) for i in range(wide)) for j in range(k)]


@pytest.mark.parametrize("seed", range(12))
def test_the_nearest_cosines_and_the_intruders_are_those_of_the_definition(seed):
    shape = [(6, 6), (9, 4), (4, 9)][seed % 3]
    W0 = some(*shape, seed=seed)
    W1 = W0 + 0.7 * some(*shape, seed=seed + 50)
    k = 1 + seed % 4
    expected = slow_cosines(W0, W1, k)
    assert nearest_cosines(W0, W1, k).tolist() == pytest.approx(expected, abs=1e-8)
    for epsilon in (0.3, 0.5, 0.8, 1.0):
        found = intruder_dimensions(W0, W1, epsilon, k)
        assert found == [j for j, cosine in enumerate(expected) if cosine < epsilon]


def test_a_planted_intruder_is_found_where_it_stands_and_an_untouched_weight_has_none():
    W0, W1, new = planted()
    assert intruder_dimensions(W0, W1, 0.6, 4) == [0]
    U = torch.linalg.svd(W1).U
    assert abs(torch.dot(U[:, 0], new)) > 0.9
    assert intruder_dimensions(W0, W0, 0.99, 8) == []
    assert intruder_dimensions(W0, 3 * W0, 0.99, 8) == []  # stretched: the same directions
    _, weak, _ = planted(strength=0.05)
    assert intruder_dimensions(W0, weak, 0.6, 4) == []  # too small to turn any of the leading directions


def test_only_the_k_leading_ones_are_looked_at():
    W0 = torch.diag(torch.tensor([9.0, 8.0, 1.0, 1e-3, 1e-3, 1e-3, 0.9, 0.8], dtype=torch.float64))
    W1 = W0.clone()
    W1[4:, 4:] += torch.ones(4, 4)  # a direction of four axes evenly, with a σ of 4.4: third in size
    assert intruder_dimensions(W0, W1, 0.7, 2) == []
    assert intruder_dimensions(W0, W1, 0.7, 3) == [2]


@pytest.mark.parametrize("shape", [(8, 8), (12, 5), (5, 12)])
def test_shrinking_scales_the_intruders_and_leaves_every_other_singular_value_and_vector(shape):
    W0, W1 = some(*shape), some(*shape) + 2 * some(*shape, seed=1)
    k = 4
    U, sigma, Vh = torch.linalg.svd(W1, full_matrices=False)
    found = intruder_dimensions(W0, W1, 0.75, k)
    assert found  # the case says something
    for factor in (0.0, 0.3, 1.0, 2.0):
        expected = sigma.clone()
        for place in found:
            expected[place] *= factor
        slowly = sum(expected[n] * torch.outer(U[:, n], Vh[n]) for n in range(len(sigma)))
        assert torch.allclose(shrink_intruders(W0, W1, factor, 0.75, k), slowly, atol=1e-12)
    assert torch.allclose(intruder_part(W0, W1, 0.75, k), W1 - shrink_intruders(W0, W1, 0, 0.75, k), atol=1e-12)


def test_without_intruders_nothing_shrinks():
    W0, _, _ = planted()
    assert torch.equal(shrink_intruders(W0, W0, 0.0, 0.5, 8), W0)


def test_peft_finds_the_same_intruders_and_shrinks_them_to_the_same_weight():
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora.intruders import reduce_intruder_dimension

    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(24, 20, bias=False)).double()
    W0 = base[0].weight.detach().clone()
    model = get_peft_model(base, LoraConfig(r=2, lora_alpha=2, target_modules=["0"], init_lora_weights=False))
    layer = model.base_model.model[0]
    for factor in (layer.lora_A["default"], layer.lora_B["default"]):
        factor.to(torch.float64)
        nn.init.normal_(factor.weight)
    W1 = W0 + layer.get_delta_weight("default").detach()
    said = []
    reduce_intruder_dimension(
        model, top_k=6, threshold_epsilon=0.5, mitigation_lambda=0.25, logging_sink=lambda line: said.append(line)
    )
    found = intruder_dimensions(W0, W1, 0.5, 6)
    assert found and f"Intruders: {len(found)}" in said[0]
    ours = shrink_intruders(W0, W1, 0.25, 0.5, 6) - W0
    theirs = layer.get_delta_weight("intruder_reduced").detach()  # cut back to rank 2, which ours is not
    assert torch.allclose(truncate(ours, 2), theirs, atol=1e-10)


def test_a_random_direction_has_the_cosine_that_is_given():
    for size in (16, 96):
        U = basis(size, seed=3)
        vectors = some(400, size, seed=4)
        cosines = ((vectors / vectors.norm(dim=1, keepdim=True)) @ U).abs().amax(1)
        assert random_cosine(size) == pytest.approx(cosines.median().item(), abs=0.03)
    assert random_cosine(96) == pytest.approx(0.28, abs=0.01)
    assert random_cosine(4096, draws=200) == pytest.approx(0.06, abs=0.005)
    assert random_cosine(1) == 1


@pytest.mark.parametrize("seed", range(8))
def test_amplification_is_that_of_the_definition(seed):
    out, inputs, rank = 7, 9, 1 + seed % 4
    W, delta = some(out, inputs, seed=seed), some(out, rank, seed=seed + 20) @ some(rank, inputs, seed=seed + 40)
    answer = amplification(W, delta, rank)
    U = torch.linalg.eigh(delta @ delta.T).eigenvectors.flip(1)[:, :rank]
    V = torch.linalg.eigh(delta.T @ delta).eigenvectors.flip(1)[:, :rank]
    along = sum(float(U[:, a] @ W @ V[:, b]) ** 2 for a in range(rank) for b in range(rank)) ** 0.5
    assert answer.update == pytest.approx(delta.norm().item(), rel=1e-9)
    assert answer.along_update == pytest.approx(along, rel=1e-9)
    assert answer.factor == pytest.approx(delta.norm().item() / along, rel=1e-9)
    assert answer.along_own == pytest.approx(truncate(W, rank).norm().item(), rel=1e-9)
    assert answer.along_own >= answer.along_update - 1e-12


def test_along_random_is_the_root_of_the_mean_square_over_random_directions():
    W, rank = some(6, 10), 3
    squares = []
    for seed in range(2000):
        U, V = (torch.linalg.qr(some(size, rank, seed=seed + add)).Q for size, add in ((6, 0), (10, 5000)))
        squares.append((U.T @ W @ V).square().sum().item())
    expected = amplification(W, some(6, 10, seed=1), rank).along_random
    assert math.sqrt(sum(squares) / len(squares)) == pytest.approx(expected, rel=0.03)


def test_an_update_along_w_is_amplified_by_its_own_size_and_one_across_w_without_end():
    W = torch.diag(torch.tensor([4.0, 2.0, 0.0], dtype=torch.float64))
    along, across = torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    along[0, 0], across[2, 2] = 2.0, 2.0
    assert amplification(W, along, 1).factor == pytest.approx(0.5)
    assert amplification(W, across, 1).factor == math.inf


def test_of_an_update_of_high_rank_only_the_leading_part_counts():
    W, delta = some(6, 6), some(6, 6, seed=1)
    assert amplification(W, delta, 2).update == pytest.approx(spectrum(delta)[:2].norm().item())
    assert amplification(W, delta, 2).factor == pytest.approx(amplification(W, truncate(delta, 2), 2).factor)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"W1": some(4, 5)}, ValueError, r"W0 has the shape \(4, 4\) and W1 \(4, 5\)"),
        ({"epsilon": 0}, ValueError, "epsilon=0 is no"),
        ({"epsilon": 1.5}, ValueError, "epsilon=1.5 is no"),
        ({"epsilon": True}, ValueError, "epsilon=True is no"),
        ({"k": 0}, ValueError, "k=0 is too small"),
        ({"k": 5}, ValueError, "out of range"),
        ({"k": 1.0}, TypeError, "k=1.0 is not a whole number"),
        ({"W0": "W"}, TypeError, "the matrix is a str"),
        ({"W1": some(4, 4) * float("inf")}, ValueError, "nan or inf"),
    ],
)
def test_bad_arguments_are_refused(change, error, message):
    given = {"W0": some(4, 4), "W1": some(4, 4), "epsilon": 0.5, "k": 2} | change
    for function in (intruder_dimensions, intruder_part):
        with pytest.raises(error, match=message):
            function(**given)
    with pytest.raises(error, match=message):
        shrink_intruders(**given, factor=0.5)


def test_bad_factors_and_updates_are_refused():
    W = some(4, 4)
    for factor in (float("nan"), float("inf"), "0.5", True):
        with pytest.raises(ValueError, match="not a finite number"):
            shrink_intruders(W, W, factor, 0.5, 2)
    with pytest.raises(ValueError, match="all zeros"):
        amplification(W, torch.zeros(4, 4), 1)
    with pytest.raises(ValueError, match="out of range"):
        amplification(W, W, 5)
    with pytest.raises(ValueError, match=r"W has the shape \(4, 4\) and delta \(4, 3\)"):
        amplification(W, some(4, 3), 1)
