"""Exercises of notebook 01: factors by SVD, the smallest rank that loses little enough, factors learnt by descent."""

from lora_teach.datasets.photo import centred_pagoda
from lora_teach.exercises.check import Draw, attempt, cases, check, compare, expect
from lora_teach.exercises.compare import as_tensor, describe
from lora_teach.measure.fitting import examples
from lora_teach.measure.spectrum import energy_lost, spectrum

import torch

ENOUGH = 0.02  # share of the squares that a training may leave beyond the SVD's cut


@check
def check_factors(factors, break_even):
    """Check ``factors(matrix, rank)``, the SVD's cut as (A, B), and ``break_even(m, n)``, the last rank that saves.

    ``A`` is (m, rank), ``B`` (rank, n), with ``A @ B`` the best matrix of that rank, however the σ are shared out.
    ``break_even`` is the largest rank at which the two hold fewer numbers than the m × n matrix.
    """
    draw = Draw()
    given = [(centred_pagoda(), 8), (draw.matrix(12, 5), 2), (draw.matrix(5, 12), 3), (draw.matrix(7, 7), 1)]
    for matrix, rank in cases([*given, (draw.matrix(6, 4), 4)]):
        A, B = _two_factors(attempt(factors, matrix=matrix, rank=rank), matrix.shape, rank)
        best, scale = _cut(matrix, rank), matrix.abs().max().item()
        compare(A @ B, best, _wrong_factors(matrix, rank), what="A @ B", rtol=1e-3, atol=1e-4 * scale)
    for m, n in cases([(768, 3072), (96, 96), (16, 16), (1024, 1024), (12, 4), (3, 7), (1, 5)]):
        compare(attempt(break_even, m=m, n=n), (m * n - 1) // (m + n), _wrong_break_evens(m, n))
    return "the best A and B of any rank, and from which rank on they are no saving."


def _two_factors(answer, shape, rank):
    """Return the learner's A and B as tensors of the right shapes."""
    expect(isinstance(answer, (tuple, list)) and len(answer) == 2, "Return the pair A, B.")
    A, B = map(as_tensor, answer)
    expect(
        A is not None and B is not None and A.dim() == B.dim() == 2,
        f"A and B are two-dimensional tensors; came: {describe(answer[0])} and {describe(answer[1])}",
    )
    (m, n), shapes = shape, f"A {tuple(A.shape)}, B {tuple(B.shape)}"
    right, (a, b) = f"expected are A {(m, rank)}, B {(rank, n)}", (tuple(A.shape), tuple(B.shape))
    if (a, b) != ((m, rank), (rank, n)):
        expect((a, b) != ((rank, n), (m, rank)), f"{shapes}: they are swapped; {right}.")
        expect(a != (rank, m), f"{shapes}: A's columns lie as rows; {right}.")
        expect(b != (n, rank), f"{shapes}: B's rows stand as columns; {right}.")
        expect(False, f"{shapes}: {right}.")
    expect(
        not A.is_complex() and not B.is_complex() and bool(A.isfinite().all() and B.isfinite().all()),
        "There are numbers in A or B that are not finite.",
    )
    return A.float(), B.float()


def _cut(matrix, rank):
    U, sigma, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return U[:, :rank] * sigma[:rank] @ Vh[:rank]


def _wrong_factors(matrix, rank):
    """Pairs (usual wrong A·B, what to say)."""
    U, sigma, Vh = torch.linalg.svd(matrix, full_matrices=False)
    left, sizes, right = U[:, :rank], sigma[:rank], Vh[:rank]
    return [
        (left @ right, "The sizes are missing: each column of U times its σ."),
        (left * sizes**2 @ right, "The σ are in A and in B: their product has σ². Put them into one, or √σ into both."),
        (left * sizes.sqrt() @ right, "√σ stands in one of the two only: the other needs its √σ as well."),
        (U[:, -rank:] * sigma[-rank:] @ Vh[-rank:], "Those are the smallest outer products; σ come largest first."),
        (left @ right * sizes[0], "One σ was taken for all: each column has its own."),
        (
            left * sizes @ Vh[:, :rank].T if min(matrix.shape) == matrix.shape[1] else left @ right,
            "torch.linalg.svd returns Vh, whose rows are wanted: Vh[:rank]. (torch.svd returns its columns.)",
        ),
        (
            U[:rank].T * sizes @ right if len(U) == U.shape[1] else left @ right,
            "U[:rank] are rows; columns: U[:, :rank].",
        ),
    ]


def _wrong_break_evens(m, n):
    """Pairs (usual wrong rank, what to say)."""
    even, right = m * n / (m + n), (m * n - 1) // (m + n)
    return [
        (
            m * n // (m + n),
            f"At r = {even:g} they hold exactly as many. Asked is the last rank at which they hold fewer.",
        ),
        (even, "A rank is a whole number: the last one below the break-even."),
        (right + 1, f"Rank {right + 1} holds {(right + 1) * (m + n):,} numbers, no fewer than {m * n:,}."),
        (min(m, n) // 2, "Half a side is the break-even of a square; in general it is m·n / (m + n)."),
        (min(m, n), "That is the highest rank there is. Where do A and B hold fewer numbers than the matrix?"),
        (m * n - (m + n), "That is a difference of counts; asked is a rank."),
    ]


@check
def check_smallest_rank(smallest_rank):
    """Check that ``smallest_rank(matrix, share)`` is the least rank that loses less than ``share`` of the squares."""
    image, draw = centred_pagoda(), Draw()
    steps = torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0]))  # loses 14/30, 5/30 and 1/30 of its squares at rank 1, 2, 3
    tall, wide = draw.matrix(40, 12), draw.matrix(9, 30)
    given = [  # the photo first: every usual mistake gives another number there
        (image, 0.05), (image, 0.5), (steps, 0.2), (steps, 0.01), (tall, 0.3), (wide, 0.3), (wide.T, 0.6),
        (torch.eye(16), 0.25),  # rank 12 loses exactly a quarter, and that is not less
    ]  # fmt: skip
    for matrix, share in cases(given):
        lost = energy_lost(matrix)
        right = int((lost >= share).sum())
        compare(attempt(smallest_rank, matrix=matrix, share=share), right, _mistakes(matrix, share, lost, right))
    return f"rank {int((energy_lost(image) >= 0.05).sum())} is the first at which the photo loses less than 5 %."


def _mistakes(matrix, share, lost, right):
    """Return the usual wrong answers for this matrix; where two of them agree, the first is named."""
    sigma = spectrum(matrix).double()
    left = 1 - sigma.cumsum(0) / sigma.sum()  # (k,)
    at, percent = lost[right - 1].item(), f"{100 * share:g} %"
    first = "Index 0 of a cumulative sum is rank 1."
    return [
        (
            right - 1,
            f"Rank {right - 1} of the identity loses exactly {percent}, and asked is what loses less: compare with >=."
            if at == share
            else f"Off by one: rank {right - 1} still loses {100 * at:.1f} %, not less than {percent}. {first}",
        ),
        (right + 1, f"Off by one: rank {right} loses {100 * lost[right].item():.1f} % already. {first}"),
        (int((left >= share).sum()) + 1, "That counts Σσ. The squared error is made of squares: count Σσ²."),
        (
            int((lost.sqrt() >= share).sum()),
            "That compares the root of the squared error; the share is of the squares themselves.",
        ),
        (
            int((sigma >= share * sigma[0]).sum()),
            "That counts the σ above a share of the largest one. What is lost is the sum of the others' squares.",
        ),
        (len(sigma) - right, "That is the number of outer products that are left out, not of those that are kept."),
    ]


@check
def check_keyhole(learn):
    """Check ``learn(batches, rank)``: A and B by gradient descent, from pairs (x, y) with y = x times a hidden matrix.

    ``x`` is (batch, m) and ``y`` (batch, n). What A·B leaves may be a fiftieth of the hidden matrix's squares more than
    what the best matrix of that rank leaves.
    """
    torch.optim.Adam([torch.zeros(1)])  # torch's first optimiser loads for seconds, which are none of the learner's
    draw = Draw(1)
    low = draw.matrix(10, 2) @ draw.matrix(2, 6)
    # The photo has more rows than a batch of it: one batch alone does not tell.
    for hidden, rank, seen in cases(
        [(low, 2, (50, 128)), (draw.matrix(8, 8), 3, (50, 128)), (centred_pagoda(), 4, (75, 64))]
    ):
        batches = examples(hidden, *seen)
        answer = attempt(learn, batches=batches, rank=rank)
        A, B = _two_factors(answer, hidden.shape, rank)
        whole = hidden.square().sum()
        left, floor = ((A @ B - hidden).square().sum() / whole).item(), energy_lost(hidden)[rank].item()
        told = f"A·B leaves {left:.1%} of the squares; rank {rank} can come down to {floor:.1%}."
        expect(left < floor + ENOUGH, f"{told} {_why(A, B, hidden)}")
    return "what the SVD would have found, from examples alone."


def _why(A, B, hidden):
    """Name what most likely kept A and B from learning."""

    def same(one, other):
        return (one - other).norm() < 0.02 * hidden.norm()

    if not A.any() and not B.any():
        return "Both are zero, and stay so: each one's gradient has the other as a factor. Start one of them at random."
    if not A.any() or not B.any():
        return f"{'A' if not A.any() else 'B'} is still zero: does the optimiser have both, and does step() run?"
    if (A @ B).norm() > 3 * hidden.norm():
        return "It has grown beyond all bounds: lower the learning rate, and see that the loss falls and doesn't rise."
    if hidden.shape[0] == hidden.shape[1] and same((A @ B).T, _cut(hidden, A.shape[1])):
        return "That is the hidden matrix transposed: y is x @ A @ B."
    if same(A @ B, -_cut(hidden, A.shape[1])):
        return "The sign is turned: the error is x @ A @ B - y."
    if same(B, torch.linalg.lstsq(A, hidden).solution):
        return "B is the best for this A, so A lags: give both to the optimiser, and go through the batches again."
    if same(A, torch.linalg.lstsq(B.T, hidden.T).solution.T):
        return "A is the best for this B, so B lags: give both to the optimiser, and go through the batches again."
    return (
        "More steps, or another learning rate? Go through all batches several times, and clear the gradients each time."
    )
