"""The checks of notebook 01 pass the solution and name each usual mistake."""

from fractions import Fraction

from lora_teach.exercises import TODO, check_cross, check_smallest_rank

import numpy as np
import pytest
import torch

MIDDLE = torch.zeros(16)
MIDDLE[6:10] = 1
ONES = torch.ones(16)


def pair(columns, rows):
    return torch.stack(columns, dim=1), torch.stack(rows)


@pytest.mark.parametrize(
    "answer",
    [
        pair([MIDDLE, 1 - MIDDLE], [ONES, MIDDLE]),
        pair([1 - MIDDLE, MIDDLE], [MIDDLE, ONES]),  # the bars the other way round
        pair([MIDDLE, ONES], [1 - MIDDLE, MIDDLE]),  # the first leaves the centre out
        pair([2 * MIDDLE, 1 - MIDDLE], [ONES / 2, MIDDLE]),
        [part.double() for part in pair([MIDDLE, 1 - MIDDLE], [ONES, MIDDLE])],
    ],
)
def test_a_cross_passes(answer):
    assert check_cross(lambda: answer).status == "PASS"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (pair([MIDDLE, ONES], [ONES, MIDDLE]), "counted twice"),
        (pair([MIDDLE, 1 - MIDDLE], [1 - MIDDLE, MIDDLE]), "The centre is missing"),
        (pair([MIDDLE, MIDDLE, ONES], [ONES, -MIDDLE, MIDDLE]), "took 3 outer products"),
        (pair([MIDDLE, 0 * ONES], [ONES, MIDDLE]), "the first bar alone"),
        (pair([MIDDLE, 1 - MIDDLE], [ONES, ONES]), "Everything is filled"),
        (pair([MIDDLE, 1 - MIDDLE], [ONES, MIDDLE])[::-1], "A and B are swapped"),
        ((torch.stack([MIDDLE, 1 - MIDDLE]), torch.stack([ONES, MIDDLE])), "expected are A (16, 2)"),
        (pair([MIDDLE, 1 - MIDDLE], [ONES, MIDDLE])[0], "returns the pair A, B"),
        (torch.eye(16), "returns the pair A, B"),
        ((MIDDLE, ONES), "two-dimensional"),
        ((3, 4), "two-dimensional"),
        (None, "returns the pair A, B"),
        (pair([MIDDLE, 1 - MIDDLE], [ONES, 2 * MIDDLE]), "differ most"),
    ],
)
def test_what_is_no_cross_is_named(answer, words):
    result = check_cross(lambda: answer)
    assert result.status == "NOT YET" and words in result.message


@pytest.mark.parametrize(
    "stub",
    [
        lambda: (TODO, TODO),
        lambda: (torch.ones(16, 2), TODO),
        lambda: pair([MIDDLE, TODO], [ONES, TODO]),
        lambda: pair([MIDDLE, 1 - MIDDLE], [ONES, TODO]),
    ],
)
def test_a_cross_not_begun_is_todo(stub):
    assert check_cross(stub).status == "TODO"


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


SOLVED = pair([MIDDLE, 1 - MIDDLE], [ONES, MIDDLE])


@pytest.mark.parametrize(
    "answer",
    [
        [part.numpy() for part in SOLVED],
        [part.int() for part in SOLVED],
        [part.tolist() for part in SOLVED],
        [torch.nn.Parameter(part) for part in SOLVED],
        [part.half() for part in SOLVED],
        (SOLVED[0] @ torch.tensor([[1.0, 2], [0, 1]]), torch.tensor([[1.0, -2], [0, 1]]) @ SOLVED[1]),  # another basis
    ],
)
def test_unusual_right_crosses_pass(answer):
    result = check_cross(lambda: answer)
    assert result.passed, result.message


@pytest.mark.parametrize(
    "answer",
    [
        [SOLVED[0].T, SOLVED[1].T],
        [SOLVED[0], SOLVED[1], 1],
        [SOLVED[0] + 0.01, SOLVED[1]],
        [SOLVED[0][:, :1], SOLVED[1][:1]],
        [SOLVED[0].roll(1, 0), SOLVED[1]],
        {"A": SOLVED[0], "B": SOLVED[1]},
        "AB",
        [SOLVED[0] * float("nan"), SOLVED[1]],
        (SOLVED[0] @ SOLVED[1], torch.eye(16)),
    ],
)
def test_wrong_crosses_do_not_pass(answer):
    assert check_cross(lambda: answer).status == "NOT YET"


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
