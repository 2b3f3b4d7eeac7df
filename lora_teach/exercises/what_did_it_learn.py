"""Exercises of notebook 11: the overlap φ of two given bases, and the effective rank."""

from math import log

from lora_teach.exercises.check import Draw, attempt, cases, check, compare
from lora_teach.measure.spectrum import effective_rank as right_effective_rank
from lora_teach.measure.subspace import subspace_similarity as right_similarity

import torch


@check
def check_phi(phi):
    """Check that ``phi(A, B)`` is the overlap of the spaces that the columns of two matrices span."""
    axes, draw = torch.eye(6, dtype=torch.float64), Draw()
    skew, other, seven, one = (draw.matrix(12, size).double() for size in (3, 5, 7, 1))
    given = [  # the skew ones first: every usual mistake gives another number there
        (skew, other), (other, skew), (seven, other), (one, skew),
        (axes[:, :2], axes[:, 1:5]),  # one axis in common
        (3 * axes[:, :2], axes[:, :4]),  # columns of length 3; the first space lies in the other
        (skew, skew @ draw.matrix(3, 3).double()),  # a space in two bases
        (axes[:, :2], axes[:, 2:5]),  # nothing in common
    ]  # fmt: skip
    for A, B in cases(given):
        compare(attempt(phi, A=A, B=B), right_similarity(A, B), _similarity_mistakes(A, B))
    return "a space has φ = 1 with itself, whatever basis it is given in."


def _similarity_mistakes(A, B):
    """Return the usual wrong answers for these two bases."""
    U, V = torch.linalg.qr(A).Q, torch.linalg.qr(B).Q
    overlap, raw = U.T @ V, A.T @ B  # (i, j) each
    lengths = (A / A.norm(dim=0)).T @ (B / B.norm(dim=0))
    i, j = overlap.shape
    squares, small, large = overlap.square().sum(), min(i, j), max(i, j)
    not_orthonormal = (
        "Their columns are neither orthogonal nor of length 1: torch.linalg.qr(A).Q is an orthonormal basis of the "
        "same space."
    )
    return [
        (overlap.norm() / small, "No square: φ has the squared norm, the sum of the squared entries."),
        (overlap.abs().sum() / small, "Not |entries| but their squares are added: cosines are squared."),
        (overlap.sum() / small, "The entries are squared before they are added, or signs cancel."),
        (squares / large, "Divided by the larger number of directions. The smaller one makes a contained space 1."),
        (squares / (i * j), "That is the mean squared cosine. φ divides the sum by min(i, j) alone."),
        (squares / len(A), "Divided by the rows' number. φ divides by the smaller number of columns."),
        (squares, "It is not divided by min(i, j) yet."),
        (raw.square().sum() / small, f"A and B were taken as they are. {not_orthonormal}"),
        ((U.T @ B).square().sum() / small, f"B was taken as it is: make both orthonormal. {not_orthonormal}"),
        ((A.T @ V).square().sum() / small, f"A was taken as it is: make both orthonormal. {not_orthonormal}"),
        (
            lengths.square().sum() / small,
            "The columns have length 1 now, but they are not orthogonal: what two of them share is counted twice. "
            "torch.linalg.qr(A).Q does both.",
        ),
    ]


@check
def check_effective_rank(effective_rank):
    """Check that ``effective_rank(sigma)`` is ``exp(−Σ p ln p)`` with ``p = σ / Σσ``."""
    given = [[8.0, 4, 2, 1, 1], [3.0, 3, 3], [5.0, 1], [7.0], [0.5] * 8, [4.0, 2, 0], Draw().matrix(20).abs().tolist()]
    for values in cases(given):
        sigma = torch.tensor(values, dtype=torch.float64)
        compare(attempt(effective_rank, sigma=sigma), right_effective_rank(sigma), _effective_mistakes(sigma))
    return "equal singular values are counted one by one, small ones hardly."


def _effective_mistakes(sigma):
    """Return the usual wrong answers for these singular values."""
    p, squared = sigma / sigma.sum(), sigma.square() / sigma.square().sum()
    entropy = torch.special.entr(p).sum()
    return [
        (torch.special.entr(squared).sum().exp(), "The shares were made of σ²; this measure takes p = σ / Σσ."),
        (entropy, "That is the entropy, −Σ p ln p. Its exponential is a number of directions."),
        ((-entropy).exp(), "A sign is missing: ln p is below 0, so −Σ p ln p is above."),
        (torch.special.entr(sigma).sum().exp(), "The σ themselves were taken for shares: divide them by their sum."),
        (
            torch.special.entr(sigma / sigma[0]).sum().exp(),
            "Shares add up to 1: divide by the sum, not by the largest.",
        ),
        ((entropy / log(2)).exp(), "log2 and exp don't belong together: ln and exp, or log2 and 2**."),
        (2**entropy, "ln and 2** don't belong together: ln and exp, or log2 and 2**."),
        (1 / p.square().sum(), "That is 1 / Σp², another measure of the same kind. Here it is exp(−Σ p ln p)."),
        (torch.count_nonzero(sigma), "That is the rank: it counts the smallest σ as much as the largest."),
        (len(sigma), "That is the number of σ: it counts the smallest as much as the largest."),
        (round(entropy.exp().item()), "It needn't be a whole number: don't round."),
        (float("nan"), "0 · ln 0 counts as 0: torch.special.entr(p) is −p ln p and knows it."),
    ]
