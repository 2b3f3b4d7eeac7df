"""The checks of notebook 01 pass the solution and unusual right answers, and name each usual mistake."""

from fractions import Fraction

from lora_teach import LoRALayer, train
from lora_teach.exercises import TODO, check_factors, check_keyhole, check_smallest_rank

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss


def svd(matrix):
    return torch.linalg.svd(matrix, full_matrices=False)


def factors(matrix, rank):
    U, sigma, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return U[:, :rank] * sigma[:rank], Vh[:rank]


def break_even(m, n):
    return (m * n - 1) // (m + n)


def roots(matrix, rank):
    U, sigma, Vh = svd(matrix.double())
    root = sigma[:rank].sqrt()
    return U[:, :rank] * root, root[:, None] * Vh[:rank]


def by_old_svd(matrix, rank):
    U, sigma, V = torch.svd(matrix)
    return U[:, :rank] @ sigma[:rank].diag(), V[:, :rank].T


def by_eigenvectors(matrix, rank):
    _, vectors = torch.linalg.eigh(matrix.double().T @ matrix.double())
    B = vectors.flip(1)[:, :rank].T
    return matrix.double() @ B.T, B


def another_basis(matrix, rank):
    A, B = factors(matrix, rank)
    mixed = torch.eye(rank) + torch.ones(rank, rank).triu(1)
    return A @ mixed, torch.linalg.inv(mixed) @ B


def by_counting(m, n):
    rank = 0
    while (rank + 1) * (m + n) < m * n:
        rank += 1
    return rank


@pytest.mark.parametrize(
    ("right", "even"),
    [
        (factors, break_even),
        (roots, by_counting),
        (by_old_svd, lambda m, n: -(-m * n // (m + n)) - 1),
        (by_eigenvectors, lambda m, n: torch.tensor(break_even(m, n))),
        (another_basis, lambda height, width: float(break_even(height, width))),
        (lambda m, r: [part.numpy() for part in factors(m, r)], lambda m, n: Fraction(break_even(m, n))),
        (lambda m, r: list(map(torch.nn.Parameter, factors(m, r))), break_even),
        (lambda m, r: (factors(m, r)[0].tolist(), factors(m, r)[1].tolist()), break_even),
        (lambda m, r: tuple(-part for part in factors(m, r)), break_even),
    ],
)
def test_right_factors_pass(right, even):
    result = check_factors(right, even)
    assert result.passed, result.message


def from_svd(form):
    """Factors made of U, the σ and Vh in some way."""
    return lambda matrix, rank: form(*svd(matrix), rank)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (from_svd(lambda U, s, Vh, r: (U[:, :r], Vh[:r])), "The sizes are missing"),
        (from_svd(lambda U, s, Vh, r: (U[:, :r] * s[:r], s[:r, None] * Vh[:r])), "their product has σ²"),
        (from_svd(lambda U, s, Vh, r: (U[:, :r] * s[:r].sqrt(), Vh[:r])), "one of the two only"),
        (from_svd(lambda U, s, Vh, r: (U[:, -r:] * s[-r:], Vh[-r:])), "the smallest outer products"),
        (from_svd(lambda U, s, Vh, r: (U[:, :r] * s[0], Vh[:r])), "One σ was taken for all"),
        (from_svd(lambda U, s, Vh, r: (U[:, :r] * s[:r], Vh[:, :r])), "B's rows stand as columns"),
        (from_svd(lambda U, s, Vh, r: (U[:, :r] * s[:r], Vh[:, :r].T)), "torch.linalg.svd returns Vh"),
        (from_svd(lambda U, s, Vh, r: (U[:r] * s, Vh[:r])), "A's columns lie as rows"),
        (from_svd(lambda U, s, Vh, r: (Vh[:r], U[:, :r] * s[:r])), "they are swapped"),
        (from_svd(lambda U, s, Vh, r: U[:, :r] * s[:r] @ Vh[:r]), "Return the pair A, B"),
        (from_svd(lambda U, s, Vh, r: (U[:, :r], s[:r], Vh[:r])), "Return the pair A, B"),
        (from_svd(lambda U, s, Vh, r: (U[:, 0] * s[0], Vh[0])), "two-dimensional"),
        (from_svd(lambda U, s, Vh, r: (U[:, : r + 1] * s[: r + 1], Vh[: r + 1])), "expected are A (96, 8)"),
        (lambda matrix, rank: factors(matrix, 8), "case 2 of 5"),
        (lambda matrix, rank: (matrix[:, :rank], torch.linalg.lstsq(matrix[:, :rank], matrix).solution), "differ most"),
        (lambda matrix, rank: (factors(matrix, rank)[0] * float("nan"), factors(matrix, rank)[1]), "not finite"),
        (lambda matrix, rank: factors(matrix.zero_() + 1, rank), "changed its input matrix in place"),
        (lambda matrix, rank: None, "Return the pair A, B"),
    ],
)
def test_wrong_factors_are_named(wrong, words):
    result = check_factors(wrong, break_even)
    assert result.status == "NOT YET" and words in result.message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda m, n: m * n / (m + n), "a whole number"),
        (lambda m, n: m * n // (m + n), "exactly as many"),
        (lambda m, n: m * n // (m + n) - 1, "expected: 614"),
        (lambda m, n: break_even(m, n) + 1, "Rank 615 holds"),
        (lambda m, n: round(m * n / (m + n)), "exactly as many"),
        (lambda m, n: min(m, n) // 2, "Half a side"),
        (lambda m, n: min(m, n) // 2 - 1, "expected: 614"),
        (lambda m, n: min(m, n), "the highest rank there is"),
        (lambda m, n: 614, "case 2 of 7"),
        (lambda m, n: str(break_even(m, n)), "str"),
        (lambda m, n: None, "is a return missing?"),
    ],
)
def test_wrong_break_evens_are_named(wrong, words):
    result = check_factors(factors, wrong)
    assert result.status == "NOT YET" and words in result.message


def test_factors_not_begun_are_todo():
    assert check_factors(lambda matrix, rank: TODO, break_even).status == "TODO"
    assert check_factors(lambda matrix, rank: (torch.ones(96, 8), TODO), break_even).status == "TODO"
    assert check_factors(factors, lambda m, n: TODO).status == "TODO"
    assert check_keyhole(lambda batches, rank: TODO).status == "TODO"
    assert check_keyhole(lambda batches, rank: (torch.zeros(10, 2), TODO)).status == "TODO"


def learn(batches, rank, make=torch.optim.Adam, lr=0.02, rounds=6, start_a=0.3, start_b=0.0, moved="AB", loss=mse_loss):
    m, n = batches[0][0].shape[1], batches[0][1].shape[1]
    torch.manual_seed(0)
    A = (start_a * torch.randn(m, rank)).requires_grad_()
    B = (start_b * torch.randn(rank, n)).requires_grad_()
    optimizer = make([part for name, part in (("A", A), ("B", B)) if name in moved], lr=lr)
    for x, y in batches * rounds:
        optimizer.zero_grad()
        loss(x @ A @ B, y).backward()
        optimizer.step()
    return A, B


def by_the_library(batches, rank):
    layer = LoRALayer(batches[0][0].shape[1], batches[0][1].shape[1], rank=rank)
    train(layer, batches, mse_loss, lr=0.05, steps=300, schedule=lambda done: 1 - done, progress=False)
    return layer.lora_A, layer.lora_B


def by_hand(batches, rank):
    generator = torch.Generator().manual_seed(3)
    m, n = batches[0][0].shape[1], batches[0][1].shape[1]
    A, B = 0.3 * torch.randn(m, rank, generator=generator), torch.zeros(rank, n)
    rate = 0.05 / max(1, m / 20) ** 0.5
    for x, y in batches * 30:
        error = (x @ A @ B - y) / len(x)
        A, B = A - rate * x.T @ error @ B.T, B - rate * A.T @ x.T @ error
    return A, B


def by_solving(batches, rank):
    """No descent at all, and never shown the matrix: one batch says everything where nothing is noise."""
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return factors(torch.linalg.lstsq(x, y).solution, rank)


@pytest.mark.parametrize(
    "right",
    [
        learn,
        by_the_library,
        by_hand,
        by_solving,
        lambda batches, rank: learn(batches, rank, torch.optim.AdamW, start_a=0.0, start_b=0.3),
        lambda batches, rank: learn(batches, rank, start_b=0.3),
        lambda batches, rank: [part.detach().numpy() for part in learn(batches, rank)],
        lambda examples, r: learn(list(reversed(examples)), r, lambda parts, lr: torch.optim.RMSprop(parts, lr=lr / 4)),
    ],
)
def test_right_ways_through_the_keyhole_pass(right):
    result = check_keyhole(right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda b, r: learn(b, r, start_a=0.0), "Both are zero"),
        (lambda b, r: learn(b, r, rounds=0), "B is still zero"),
        (lambda b, r: learn(b, r, moved="A"), "B is still zero"),
        (lambda b, r: learn(b, r, start_a=0.0, start_b=0.3, moved="B"), "A is still zero"),
        (lambda b, r: learn(b, r, moved="B", lr=0.05, start_a=1.0), "so A lags"),
        (lambda b, r: learn(b, r, start_b=1.0, moved="A", lr=0.05), "so B lags"),
        (lambda b, r: learn(b, r, lr=1e-5), "More steps"),
        (lambda b, r: learn(b[:1], r, rounds=1), "More steps"),
        (lambda b, r: learn(b, r, rounds=1, lr=0.001), "More steps"),
        (lambda b, r: learn(b[:3], r, torch.optim.SGD, lr=5.0, rounds=1, start_b=0.3), "beyond all bounds"),
        (lambda b, r: learn(b, r, loss=lambda out, y: -mse_loss(out, y)), "NOT YET"),
        (lambda b, r: learn(b, r, loss=lambda out, y: mse_loss(out, -y)), "The sign is turned"),
        (lambda b, r: learn(b, r)[::-1], "they are swapped"),
        (lambda b, r: (learn(b, r)[0] @ learn(b, r)[1],), "Return the pair A, B"),
        (lambda b, r: (learn(b, r)[0].T, learn(b, r)[1]), "A's columns lie as rows"),
        (lambda b, r: learn(b, r + 1), "expected are A (10, 2)"),
        (lambda b, r: learn(b, 2), "case 2 of 3"),
        (lambda b, r: learn(b[:1] * len(b), r), "case 3 of 3"),
        (lambda b, r: learn(b, r, lr=float("nan")), "the code raised"),
    ],
)
def test_ways_that_do_not_come_through_the_keyhole_are_named(wrong, words):
    result = check_keyhole(wrong)
    assert result.status == "NOT YET" and words in str(result)


def cumulative(matrix, power=2):
    values = torch.linalg.svdvals(matrix) ** power
    return values.cumsum(0) / values.sum()


def solution(matrix, share):
    return int((1 - cumulative(matrix) >= share).sum()) + 1


def by_trying(matrix, share):
    U, sigma, Vh = torch.linalg.svd(matrix, full_matrices=False)
    rank = 0
    while (U[:, :rank] * sigma[:rank] @ Vh[:rank] - matrix).square().sum() >= share * matrix.square().sum():
        rank += 1
    return rank


@pytest.mark.parametrize("right", [solution, by_trying, lambda m, share: torch.tensor(solution(m, share))])
def test_the_smallest_rank_passes(right):
    result = check_smallest_rank(right)
    assert result.status == "PASS", result.message
    assert "rank 11 is the first" in result.message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda m, share: int((1 - cumulative(m, 1) >= share).sum()) + 1, "That counts Σσ"),
        (lambda m, share: solution(m, share) - 1, "Off by one: rank 10 still loses"),
        (lambda m, share: solution(m, share) + 1, "Off by one: rank 11 loses"),
        (lambda m, share: int(((1 - cumulative(m)).sqrt() >= share).sum()) + 1, "the root of the squared error"),
        (lambda m, share: int((torch.linalg.svdvals(m) >= share * torch.linalg.svdvals(m)[0]).sum()), "a share of the"),
        (lambda m, share: min(m.shape) - solution(m, share), "left out, not of those that are kept"),
        (lambda m, share: 11 if share == 0.05 else 1, "case 3 of 8"),  # the photo's answer by heart
        (lambda m, share: None, "is a return missing?"),
        (lambda m, share: torch.linalg.svdvals(m.view(96, 96)) and 3, "the code raised"),
    ],
)
def test_a_usual_mistake_is_named(wrong, words):
    result = check_smallest_rank(wrong)
    assert result.status == "NOT YET" and words in result.message


def test_a_wrong_size_of_matrix_is_seen_through():
    """Written for square matrices, with the number of columns in place of the number of σ."""

    def square_only(matrix, share):
        kept = torch.zeros(matrix.shape[1])
        kept[:] = cumulative(matrix)
        return int((1 - kept >= share).sum()) + 1

    assert check_smallest_rank(square_only).status == "NOT YET"


def by_numpy(matrix, share):
    squares = np.linalg.svd(matrix.numpy(), compute_uv=False) ** 2
    return next(r for r in range(1, len(squares) + 1) if squares[r:].sum() / squares.sum() < share)


def by_eigenvalues(m, s):
    squares = torch.linalg.eigvalsh(m.double() @ m.double().T).flip(0).clamp(min=0)
    squares = squares[: min(m.shape)]
    return ((squares.sum() - squares.cumsum(0)) / squares.sum() >= s).sum() + 1


def by_norms(m, share):
    U, sigma, Vh = torch.linalg.svd(m, full_matrices=False)
    for rank in range(1, len(sigma) + 1):
        if ((m - U[:, :rank] @ sigma[:rank].diag() @ Vh[:rank]).norm() / m.norm()) ** 2 < share:
            return rank


@pytest.mark.parametrize(
    "right",
    [
        by_numpy,
        by_eigenvalues,
        by_norms,
        lambda m, share: float(solution(m, share)),
        lambda m, share: Fraction(solution(m, share)),
        lambda picture, part: np.int32(solution(picture.double(), part)),
    ],
)
def test_unusual_right_ranks_pass(right):
    result = check_smallest_rank(right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda m, share: int((1 - cumulative(m) > share).sum()) + 1, "compare with >="),
        (lambda m, share: int((cumulative(m) < share).sum()) + 1, "expected"),
        (lambda m, share: int(torch.linalg.matrix_rank(m)), "expected"),
        (lambda m, share: solution(m.zero_() + 1, share), "changed its input matrix in place"),
        (lambda m, share: solution(m, 0.05), "case 2 of 8"),
        (lambda m, share: solution(m, share) + 1e-3, "compared exactly"),
        (lambda m, share: solution(m[:, : len(m)], share), "NOT YET"),
        (lambda m, share: solution(m, share) * 2, "expected"),
        (lambda m, share: 1 - cumulative(m)[solution(m, share) - 1], "expected"),
        (lambda m, share: [solution(m, share)], "list"),
        (lambda m, share: str(solution(m, share)), "str"),
    ],
)
def test_wrong_ranks_do_not_pass(wrong, words):
    assert words in str(check_smallest_rank(wrong)) and not check_smallest_rank(wrong).passed
