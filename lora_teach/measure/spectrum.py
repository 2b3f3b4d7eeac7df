"""How many outer products a matrix is made of, and how much of it the largest few hold: numbers in, numbers out.

Every matrix M is a sum of outer products, column × row, that get smaller and smaller: its singular value decomposition,
``M = σ₁ u₁ v₁ᵀ + σ₂ u₂ v₂ᵀ + …`` with ``σ₁ ≥ σ₂ ≥ … ≥ 0``. The sum of all squared entries of M is ``σ₁² + σ₂² + …``, so
the σ say how much is lost when the sum is cut after r terms; and no other matrix of rank r loses less.

Source: C. Eckart and G. Young, The approximation of one matrix by another of lower rank, Psychometrika 1 (1936),
pages 211 to 218.

    >>> stripes = torch.ones(4, 1) @ torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    >>> numerical_rank(stripes), numerical_rank(torch.eye(4))
    (1, 4)
    >>> energy_kept(torch.eye(4), 1)
    0.25
"""

import numbers

import torch


def spectrum(matrix):
    """Return the singular values σ, largest first: ``(min(rows, columns),)``.

    Computed in float32, or in float64 if that is the matrix's dtype; no gradient flows through it.

    Raises:
        TypeError: ``matrix`` is not a tensor of real numbers.
        ValueError: It doesn't have two dimensions, is empty, or holds nan or inf.
    """
    return torch.linalg.svdvals(checked_matrix(matrix))  # (min(rows, columns),)


def factors(matrix, rank):
    """Return A ``(rows, rank)`` and B ``(rank, columns)``, whose product is the best approximation of that rank.

    Column i of A times row i of B is the i-th largest outer product. Its size σᵢ is shared out evenly: √σᵢ to each.

    Args:
        matrix: ``(rows, columns)``.
        rank: How many outer products, 0 to min(rows, columns).

    Raises:
        TypeError: As `spectrum`, or ``rank`` is not a whole number.
        ValueError: As `spectrum`, or ``rank`` is out of range.
    """
    matrix = checked_matrix(matrix)
    rank = checked_rank(rank, matrix)
    U, sigma, Vh = torch.linalg.svd(matrix, full_matrices=False)  # (rows, k), (k,), (k, columns)
    size = sigma[:rank].sqrt()  # (rank,)
    return U[:, :rank] * size, size[:, None] * Vh[:rank]


def truncate(matrix, rank):
    """Return the best approximation of ``matrix`` that has at most this rank: ``(rows, columns)``.

    No matrix of that rank has a smaller sum of squared differences from ``matrix`` (Eckart and Young 1936). Its
    arguments and errors are those of `factors`.
    """
    A, B = factors(matrix, rank)
    return A @ B  # (rows, columns)


def energy_kept(matrix, rank):
    """Return the share of the squared entries that the best approximation of this rank keeps, 0 to 1.

    That is ``(σ₁² + … + σᵣ²) / (σ₁² + σ₂² + …)``; what it lacks to 1 is the smallest squared error that rank r allows.
    A matrix of zeros has nothing to lose and keeps 1. Arguments and errors as `factors`.
    """
    rank = checked_rank(rank, checked_matrix(matrix))
    return 1.0 - energy_lost(matrix)[rank].item()


def energy_lost(matrix):
    """Return the smallest squared error at rank 0, 1, 2, … as a share of the squared entries: ``(k + 1,)``, float64.

    ``k`` is min(rows, columns); the first is 1 and the last 0 (all 0 for a matrix of zeros). Errors as `spectrum`.
    """
    squares = spectrum(matrix).double().square()  # (k,)
    left = torch.cat([squares.flip(0).cumsum(0).flip(0), squares.new_zeros(1)])  # (k + 1,): what follows each rank
    return left / left[0] if left[0] > 0 else torch.zeros_like(left)


def numerical_rank(matrix):
    """Return the rank: how many outer products it takes, those apart that are no more than rounding.

    A singular value counts if it is above σ₁ · max(rows, columns) · eps, as in ``torch.linalg.matrix_rank``. Errors as
    `spectrum`.
    """
    return int(torch.linalg.matrix_rank(checked_matrix(matrix)))


def effective_rank(values):
    """Return how many singular values there would be if they were equal: ``exp(−Σ p ln p)`` with ``p = σ / Σσ``.

    From 1 to the rank, not a whole number; 0 for zeros. Where `numerical_rank` counts every direction that is more than
    rounding, this one hardly counts the small. O. Roy and M. Vetterli, The effective rank, EUSIPCO 2007.

    Args:
        values: A matrix ``(rows, columns)``, or its singular values ``(k,)``.

    Raises:
        TypeError: As `spectrum`.
        ValueError: As `spectrum`, or a negative singular value.
    """
    if isinstance(values, torch.Tensor) and values.dim() == 1:
        sigma = checked_matrix(values[None])[0].double()  # (k,)
        if (sigma < 0).any():
            raise ValueError(f"a singular value is {sigma.min():.3g}; none is below 0. Give spectrum(matrix).")
    else:
        sigma = spectrum(values).double()  # (k,)
    total = sigma.sum()
    return torch.special.entr(sigma / total).sum().exp().item() if total > 0 else 0.0


def checked_matrix(matrix):
    """Return the matrix without its gradient, in a dtype that can be decomposed; errors as `spectrum`."""
    if not isinstance(matrix, torch.Tensor) or matrix.is_complex():
        kind = f"a tensor of {matrix.dtype}" if isinstance(matrix, torch.Tensor) else f"a {type(matrix).__name__}"
        raise TypeError(f"the matrix is {kind}. Give a tensor of real numbers, for others torch.tensor(…).")
    if matrix.dim() != 2 or not matrix.numel():
        raise ValueError(
            f"the matrix has the shape {tuple(matrix.shape)}. Give one of (rows, columns), at least (1, 1)."
        )
    matrix = matrix.detach()
    matrix = matrix if matrix.dtype == torch.float64 else matrix.float()
    if not torch.isfinite(matrix).all():
        raise ValueError("the matrix holds nan or inf, and then it has no singular values. Look where they come from.")
    return matrix


def checked_rank(rank, matrix):
    """Return ``rank`` if it is a whole number from 0 to min(rows, columns) of ``matrix``."""
    if isinstance(rank, bool) or not isinstance(rank, numbers.Integral):
        raise TypeError(f"rank={rank!r} is not a whole number. Use an integer of at least 0.")
    rows, columns = matrix.shape
    if not 0 <= rank <= min(rows, columns):
        raise ValueError(
            f"rank={rank} is out of range: a {rows} × {columns} matrix has rank at most {min(rows, columns)}. "
            f"Use 0..{min(rows, columns)}."
        )
    return int(rank)
