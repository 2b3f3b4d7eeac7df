"""Exercises of notebook 01: a cross from two outer products, and the smallest rank that loses little enough."""

from lora_teach.datasets.icons import icons
from lora_teach.datasets.photo import centred_pagoda
from lora_teach.exercises.check import Draw, attempt, cases, check, compare, expect
from lora_teach.exercises.compare import as_tensor
from lora_teach.measure.spectrum import energy_lost, spectrum

import torch


@check
def check_cross(cross):
    """Check that ``cross()`` returns A (16, 2) and B (2, 16) with ``A @ B`` the cross of the tiles."""
    target = icons()["cross"]
    answer = attempt(cross)
    expect(
        isinstance(answer, (tuple, list)) and len(answer) == 2,
        "cross() returns the pair A, B: A holds the columns, B the rows, and the check multiplies them.",
    )
    A, B = map(as_tensor, answer)
    expect(
        A is not None and B is not None and A.dim() == B.dim() == 2,
        "A and B are two-dimensional tensors: A (16, 2), two columns side by side; B (2, 16), two rows stacked.",
    )
    shapes = f"A {tuple(A.shape)}, B {tuple(B.shape)}"
    expect(
        (A.shape[0], B.shape[1]) != (2, 2),
        f"{shapes}: the columns are stacked as rows, or A and B are swapped. A is (16, 2): torch.stack(…, dim=1).",
    )
    expect(A.shape[0] == B.shape[1] == 16 and A.shape[1] == B.shape[0], f"{shapes}: expected are A (16, 2), B (2, 16).")
    middle = torch.zeros(16)
    middle[6:10] = 1
    centre, everywhere = torch.outer(middle, middle), torch.ones(16)
    mistakes = [
        (
            target + centre,
            "The centre is counted twice: both bars pass over it. Let the second one leave out rows 6 to 9.",
        ),
        (target - centre, "The centre is missing: both bars leave it out. One of them must pass."),
        (torch.outer(middle, everywhere), "That is the first bar alone; the second adds nothing."),
        (
            torch.outer(everywhere, everywhere),
            "Everything is filled: the second row should be the middle columns only.",
        ),
    ]
    compare(A.float() @ B.float(), target, mistakes, what="A @ B")
    expect(
        A.shape[1] == 2,
        f"The picture is right, but it took {A.shape[1]} outer products. Two do: if the bars don't overlap, nothing "
        "has to be taken back.",
    )
    return "a cross from two outer products: 64 numbers instead of 256."


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
