"""Exercises of notebook 11: the overlap φ of two given bases, and the effective rank."""

from lora_teach.exercises.check import check, compare
from lora_teach.measure.spectrum import effective_rank as right_effective_rank
from lora_teach.measure.subspace import subspace_similarity as right_similarity

import torch


@check
def check_phi(phi):
    """Check that ``phi(A, B)`` is the overlap of the spaces that the columns of two matrices span."""
    axes = torch.eye(6, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    skew, other = (torch.randn(12, size, generator=generator, dtype=torch.float64) for size in (3, 5))
    long = axes[:, :2] * 3
    cases = [  # the skew ones first: every usual mistake gives another number there
        ("skew, other", skew, other, " (random, of shapes (12, 3) and (12, 5), neither orthogonal nor of length 1)"),
        ("other, skew", other, skew, " (random, of shapes (12, 5) and (12, 3))"),
        ("axes[:, :2], axes[:, 1:5]", axes[:, :2], axes[:, 1:5], " (axes = torch.eye(6): one axis in common)"),
        (
            "3 * axes[:, :2], axes[:, :4]",
            long,
            axes[:, :4],
            " (columns of length 3; the first space lies in the other)",
        ),
        ("skew, skew", skew, skew.clone(), ": a space and itself"),
        ("axes[:, :2], axes[:, 2:5]", axes[:, :2], axes[:, 2:5], ": nothing in common"),
    ]
    for call, A, B, more in cases:
        compare(phi(A, B), right_similarity(A, B), f"phi({call}){more}", _similarity_mistakes(A, B))
    return "a space has φ = 1 with itself, whatever basis it is given in."


def _similarity_mistakes(A, B):
    """Return the usual wrong answers for these two bases."""
    U, V = torch.linalg.qr(A).Q, torch.linalg.qr(B).Q
    overlap, raw = U.T @ V, A.T @ B  # (i, j) each
    lengths = (A / A.norm(dim=0)).T @ (B / B.norm(dim=0))
    i, j = overlap.shape
    squares, small, large = overlap.square().sum(), min(i, j), max(i, j)
    return [
        (overlap.norm() / small, "No square: φ has the squared norm, the sum of the squared entries."),
        (overlap.abs().sum() / small, "Not |entries| but their squares are added: cosines are squared."),
        (overlap.sum() / small, "The entries are squared before they are added, or signs cancel."),
        (squares / large, "Divided by the larger number of directions. The smaller one makes a contained space 1."),
        (squares / (i * j), "That is the mean squared cosine. φ divides the sum by min(i, j) alone."),
        (squares, "It is not divided by min(i, j) yet."),
        (
            raw.square().sum() / small,
            "A and B were taken as they are. Their columns are neither orthogonal nor of length 1: "
            "torch.linalg.qr(A).Q is an orthonormal basis of the same space.",
        ),
        (
            lengths.square().sum() / small,
            "The columns have length 1 now, but they are not orthogonal: what two of them share is counted twice. "
            "torch.linalg.qr(A).Q does both.",
        ),
    ]


@check
def check_effective_rank(effective_rank):
    """Check that ``effective_rank(sigma)`` is ``exp(−Σ p ln p)`` with ``p = σ / Σσ``."""
    cases = [
        [8.0, 4.0, 2.0, 1.0, 1.0],
        [3.0, 3.0, 3.0],
        [5.0, 1.0],
        [7.0],
        [0.5] * 8,
        [4.0, 2.0, 0.0],
    ]
    for values in cases:
        sigma = torch.tensor(values, dtype=torch.float64)
        given = f"effective_rank(torch.tensor({values}))"
        if 0.0 in values:
            given += " (0 · ln 0 counts as 0: torch.special.entr(p) is −p ln p and knows it)"
        compare(effective_rank(sigma), right_effective_rank(sigma), given, _effective_mistakes(sigma))
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
            (entropy / torch.log(torch.tensor(2.0))).exp(),
            "log2 and exp don't belong together: ln and exp, or log2 and 2**.",
        ),
        (1 / p.square().sum(), "That is 1 / Σp², another measure of the same kind. Here it is exp(−Σ p ln p)."),
        (torch.count_nonzero(sigma), "That is the rank: it counts the smallest σ as much as the largest."),
    ]
