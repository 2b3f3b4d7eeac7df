"""Singular values, the best approximation of a rank, and what it loses."""

import math

from lora_teach.datasets import photo
from lora_teach.measure import effective_rank, energy_kept, energy_lost, factors, numerical_rank, spectrum, truncate

import pytest
import torch


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(5, 5), (7, 4), (4, 7), (1, 6), (6, 1), (1, 1)])
def test_all_ranks_of_all_shapes(shape):
    matrix = some(*shape)
    size = matrix.square().sum()
    sigma = spectrum(matrix)
    assert sigma.shape == (min(shape),)
    assert (sigma[:-1] >= sigma[1:]).all()
    for rank in range(min(shape) + 1):
        best = truncate(matrix, rank)
        A, B = factors(matrix, rank)
        assert A.shape == (shape[0], rank) and B.shape == (rank, shape[1])
        assert torch.equal(A @ B, best)
        assert numerical_rank(best) == rank
        left = (best - matrix).square().sum() / size
        assert torch.allclose(left, energy_lost(matrix)[rank], atol=1e-12)
        assert energy_kept(matrix, rank) == pytest.approx(1 - left.item(), abs=1e-12)
    assert torch.allclose(truncate(matrix, min(shape)), matrix)


def test_the_squared_entries_are_the_squared_singular_values():
    matrix = some(9, 5)
    assert torch.allclose(spectrum(matrix).square().sum(), matrix.square().sum())


def test_each_outer_product_is_shared_out_evenly_and_the_largest_comes_first():
    matrix = some(8, 6)
    A, B = factors(matrix, 4)
    assert torch.allclose(A.norm(dim=0), B.norm(dim=1))
    assert torch.allclose(A.norm(dim=0) * B.norm(dim=1), spectrum(matrix)[:4])


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_nothing_of_that_rank_is_nearer_than_the_cut(rank):
    """Eckart and Young, against gradient descent from several starts, which is free to find something better."""
    matrix = some(10, 8)
    floor = energy_lost(matrix)[rank] * matrix.square().sum()
    for seed in range(3):
        A, B = (some(*shape, seed=seed + 1).requires_grad_() for shape in ((10, rank), (rank, 8)))
        descent = torch.optim.LBFGS([A, B], max_iter=500, line_search_fn="strong_wolfe")

        def closure(A=A, B=B, descent=descent):
            descent.zero_grad()
            loss = (A @ B - matrix).square().sum()
            loss.backward()
            return loss

        loss = descent.step(closure)
        loss = (A @ B - matrix).square().sum()
        assert loss >= floor * (1 - 1e-9)
        assert loss < floor * 1.5  # the search was a serious one


def test_rank_counts_outer_products_and_not_rounding():
    column, row = some(12, 1).float(), some(1, 9).float()
    assert numerical_rank(column @ row) == 1
    assert numerical_rank(column @ row + some(12, 1, seed=1).float() @ some(1, 9, seed=2).float()) == 2
    assert numerical_rank(torch.zeros(3, 4)) == 0
    assert numerical_rank(photo.pagoda().double()) == 96


def test_a_matrix_of_zeros_has_nothing_to_lose():
    zeros = torch.zeros(3, 4)
    assert energy_kept(zeros, 0) == 1.0
    assert torch.equal(energy_lost(zeros), torch.zeros(4, dtype=torch.float64))
    assert torch.equal(truncate(zeros, 2), zeros)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_dtypes_that_cannot_be_decomposed_are_taken_in_float32(dtype):
    matrix = torch.eye(4).to(dtype)
    assert spectrum(matrix).dtype == torch.float32
    assert torch.equal(spectrum(matrix), torch.ones(4))


def test_parameters_may_be_measured_and_are_left_alone():
    weight = torch.nn.Linear(4, 3).weight
    before = weight.detach().clone()
    assert not truncate(weight, 2).requires_grad
    assert torch.equal(weight, before) and weight.grad is None


@pytest.mark.parametrize(
    "measure", [spectrum, energy_lost, numerical_rank, lambda m: truncate(m, 1), lambda m: energy_kept(m, 1)]
)
@pytest.mark.parametrize(
    ("matrix", "error", "message"),
    [
        ([[1.0]], TypeError, "the matrix is a list"),
        (torch.ones(2, 2, dtype=torch.complex64), TypeError, "complex64"),
        (torch.ones(3), ValueError, r"shape \(3,\)"),
        (torch.ones(2, 3, 4), ValueError, r"shape \(2, 3, 4\)"),
        (torch.ones(0, 3), ValueError, r"shape \(0, 3\)"),
        (torch.tensor([[1.0, float("nan")]]), ValueError, "nan or inf"),
        (torch.tensor([[1.0, float("inf")]]), ValueError, "nan or inf"),
    ],
)
def test_what_is_no_matrix_is_refused(measure, matrix, error, message):
    with pytest.raises(error, match=message):
        measure(matrix)


@pytest.mark.parametrize("function", [truncate, factors, energy_kept])
@pytest.mark.parametrize(
    ("rank", "error", "message"),
    [
        (-1, ValueError, r"rank=-1 is out of range: a 5 × 3 matrix has rank at most 3. Use 0..3"),
        (4, ValueError, "rank=4 is out of range"),
        (1.5, TypeError, "rank=1.5 is not a whole number"),
        (True, TypeError, "rank=True is not a whole number"),
        ("2", TypeError, "rank='2' is not a whole number"),
    ],
)
def test_an_impossible_rank_is_refused(function, rank, error, message):
    with pytest.raises(error, match=message):
        function(torch.ones(5, 3), rank)


@pytest.mark.parametrize("seed", range(5))
def test_the_effective_rank_is_the_exponential_of_the_entropy_of_the_shares(seed):
    matrix = some(7, 5, seed=seed)
    share = [value / sum(spectrum(matrix).tolist()) for value in spectrum(matrix).tolist()]
    expected = math.exp(-sum(p * math.log(p) for p in share))
    assert effective_rank(matrix) == pytest.approx(expected, rel=1e-9)
    assert effective_rank(spectrum(matrix)) == pytest.approx(expected, rel=1e-9)
    assert 1 <= expected <= numerical_rank(matrix)
    assert effective_rank(3 * matrix) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("sigma", "expected"), [([2, 2, 2, 0], 3), ([5, 0, 0], 1), ([0, 0], 0), ([1, 1e-9], 1), ([3, 1], 1.7548)]
)
def test_equal_singular_values_are_counted_and_small_ones_hardly(sigma, expected):
    sigma = torch.tensor(sigma, dtype=torch.float64)
    assert effective_rank(sigma) == pytest.approx(expected, abs=1e-4)
    assert effective_rank(torch.diag(sigma)) == pytest.approx(expected, abs=1e-4)


def test_what_has_no_effective_rank_is_refused():
    with pytest.raises(ValueError, match="a singular value is -1; none is below 0"):
        effective_rank(torch.tensor([2.0, -1.0]))
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4\)"):
        effective_rank(torch.ones(2, 3, 4))
    with pytest.raises(TypeError, match="the matrix is a list"):
        effective_rank([1.0, 2.0])
    with pytest.raises(ValueError, match="nan or inf"):
        effective_rank(torch.tensor([1.0, float("nan")]))
