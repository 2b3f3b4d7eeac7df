"""Do two matrices point the same way? The overlap φ of the subspaces that their leading directions span.

``φ(A, B, i, j) = ‖U_Aᵀ U_B‖² / min(i, j)``, with the first i left singular vectors of A, and the first j of B, as
columns of U_A and U_B: 1 where the smaller subspace lies within the larger, 0 where they are orthogonal. E. Hu et al.
2021, section 7.2 and appendix G, who compare the A of two adapters. Their A is ``(r, in)`` and they take its right
singular vectors; a layer's ``lora_A`` here is ``(in_features, rank)``, and its left ones are the same directions, those
of the input. For directions of the output give ``lora_B.T`` or an update ΔW (out, in); for its input's, ``ΔW.T``.

    >>> A, B = torch.eye(6)[:, :2], torch.eye(6)[:, 1:4]  # spanned by axes 0 and 1; by axes 1, 2 and 3
    >>> subspace_similarity(A, B, 2, 3)
    0.5
    >>> random_similarity(6, 2, 3)
    0.5
"""

from lora_teach.measure.spectrum import checked_matrix, numerical_rank
from lora_teach.utils.validation import check_count

import torch


def directions(matrix, count=None):
    """Return the leading left singular vectors of a matrix as columns, ``(rows, count)``, orthonormal, largest first.

    ``count`` is at most the rank, beyond which rounding would choose; None takes all. Errors as `spectrum`.
    """
    return _directions(matrix, count, "count", "the matrix")


def subspace_similarity(A, B, i=None, j=None):
    """Return φ of the first i directions of A and the first j of B, 0 to 1.

    The matrices need not be square, nor orthonormal; the number of columns may differ. What they share is the space
    that both have directions in, so the number of rows is the same.

    Args:
        A: ``(rows, any)``, such as one layer's ``lora_A``.
        B: ``(rows, any)``, such as another's.
        i: How many directions of A; None means all that it has.
        j: How many of B.

    Raises:
        TypeError: As `directions`.
        ValueError: As `directions`, or A and B have different numbers of rows.
    """
    overlap = _overlap(A, B, i, j)  # (i, j)
    return overlap.sum().item() / min(overlap.shape)


def similarity_map(A, B, i=None, j=None):
    """Return φ for every pair up to ``(i, j)``, the paper's heat map: ``(i, j)``, entry [0, 0] for one direction each.

    Arguments and errors as `subspace_similarity`.
    """
    overlap = _overlap(A, B, i, j)  # (i, j)
    smaller = torch.minimum(torch.arange(1, len(overlap) + 1)[:, None], torch.arange(1, overlap.shape[1] + 1))
    return overlap.cumsum(0).cumsum(1) / smaller  # (i, j)


def random_similarity(rows, i, j):
    """Return what φ is on average where nothing is shared: two subspaces drawn at random, ``max(i, j) / rows``.

    Each pair of unit vectors has a squared cosine of 1 / rows on average, and φ is a sum of i · j of them over
    min(i, j). So a φ says little by itself: of 96 directions, random halves have φ = 0.5.

    Raises:
        TypeError: A size that is not a whole number.
        ValueError: One below 1, or i or j above ``rows``.
    """
    rows, i, j = check_count("rows", rows), check_count("i", i), check_count("j", j)
    if max(i, j) > rows:
        raise ValueError(f"{max(i, j)} directions in a space of {rows}: there are at most {rows}.")
    return max(i, j) / rows


def random_similarities(rows, i, j, draws=200, seed=0):
    """Return φ of ``draws`` pairs of random subspaces, ``(draws,)``, float64; their largest is a ceiling for chance."""
    random_similarity(rows, i, j)
    generator = torch.Generator().manual_seed(seed)
    first, second = (
        torch.linalg.qr(torch.randn(draws, rows, count, generator=generator, dtype=torch.float64)).Q for count in (i, j)
    )
    return (first.mT @ second).square().sum((1, 2)) / min(i, j)  # (draws,)


def _overlap(A, B, i, j):
    """Return the squared cosines between the directions of A and of B: ``(i, j)``."""
    first, second = _directions(A, i, "i", "A"), _directions(B, j, "j", "B")
    if len(first) != len(second):
        raise ValueError(
            f"A has {len(first)} rows and B {len(second)}, so their directions live in different spaces. Compare "
            "layers with the same input, or transpose both."
        )
    dtype = torch.promote_types(first.dtype, second.dtype)
    return (first.T.to(dtype) @ second.to(dtype)).square()  # (i, j)


def _directions(matrix, count, name, whose):
    matrix, rank = checked_matrix(matrix), numerical_rank(matrix)
    if not rank:
        raise ValueError(f"{whose} is all zeros, so it has no direction. A new layer's lora_B is: train it first.")
    count = rank if count is None else check_count(name, count)
    if count > rank:
        raise ValueError(
            f"{name}={count} is out of range: {whose} has rank {rank}, and beyond it rounding chooses the direction. "
            f"Use 1..{rank}."
        )
    return torch.linalg.svd(matrix, full_matrices=False).U[:, :count]  # (rows, count)
