"""Directions that fine-tuning brought in: intruder dimensions, and what an update amplifies.

An intruder dimension is a leading singular vector of the tuned weight that resembles none of the pretrained one's: the
largest |cosine| with any of them is below ε. R. Shuttleworth and others 2024, LoRA vs Full Fine-tuning: An Illusion of
Equivalence, arXiv 2410.21228. They take left singular vectors, directions of the output; so does this file.

    >>> before = torch.diag(torch.tensor([4.0, 3.0, 2.0, 0.0]))
    >>> after = before + 5 * torch.ones(4, 4) / 4  # a new direction, unlike each of the axes
    >>> intruder_dimensions(before, after, epsilon=0.7, k=2)
    [0]
"""

import math
import numbers
from dataclasses import dataclass

from lora_teach.measure.spectrum import checked_matrix, checked_rank
from lora_teach.utils.validation import check_count

import torch

EPSILON, LEADING = 0.5, 10  # what PEFT's reduce_intruder_dimension starts from


def nearest_cosines(W0, W1, k=LEADING):
    """Return for each of W1's k leading left singular vectors its largest |cosine| with one of W0's: ``(k,)``.

    A new direction can't be told from a mixture of old ones by this: halfway between two singular vectors of W0 the
    cosine with each is 0.71, and where σ are nearly equal a small update mixes their vectors.

    Args:
        W0: The pretrained weight, ``(out_features, in_features)``.
        W1: The tuned weight, of the same shape.
        k: How many of W1's singular vectors are looked at, the largest first; at most min(out, in).

    Raises:
        TypeError: As `lora_teach.measure.spectrum.spectrum`, or ``k`` is not a whole number.
        ValueError: As there, shapes that differ, or ``k`` is out of range.
    """
    return _cosines(*_pair(W0, W1), k)


def intruder_dimensions(W0, W1, epsilon=EPSILON, k=LEADING):
    """Return which of W1's k leading singular vectors are intruders: places in the spectrum, 0 for the largest.

    The narrower the layer, the higher ε must be: `random_cosine` says what a direction drawn at random reaches.

    Args:
        W0: The pretrained weight, ``(out_features, in_features)``.
        W1: The tuned weight, of the same shape.
        epsilon: An intruder's largest |cosine| with W0's singular vectors is below it; in (0, 1].
        k: How many are looked at.

    Raises:
        TypeError, ValueError: As `nearest_cosines`, or ``epsilon`` is no number in (0, 1].
    """
    _check_epsilon(epsilon)
    return torch.nonzero(nearest_cosines(W0, W1, k) < epsilon).flatten().tolist()


def intruder_part(W0, W1, epsilon=EPSILON, k=LEADING):
    """Return the sum of ``σ u vᵀ`` over W1's intruders, ``(out_features, in_features)``; see `intruder_dimensions`."""
    _check_epsilon(epsilon)
    W0, W1 = _pair(W0, W1)
    U, sigma, Vh = torch.linalg.svd(W1, full_matrices=False)  # (out, n), (n,), (n, in)
    chosen = _cosines(W0, W1, k) < epsilon  # (k,)
    k = len(chosen)
    return (U[:, :k] * (sigma[:k] * chosen)) @ Vh[:k]  # (out, in)


def shrink_intruders(W0, W1, factor, epsilon=EPSILON, k=LEADING):
    """Return W1 with its intruders' singular values times ``factor``: 1 leaves it, 0 takes them out.

    That is ``W1 + (factor − 1) Σ σ u vᵀ``, as in the paper; what W0 had in these directions goes with them. The
    difference from W0 may then have a higher rank than LoRA gave it.

    Args:
        W0: The pretrained weight, ``(out_features, in_features)``.
        W1: The tuned weight, of the same shape.
        factor: A finite number, dimensionless.
        epsilon: As `intruder_dimensions`.
        k: As there.

    Raises:
        TypeError, ValueError: As `intruder_dimensions`, or ``factor`` is not a finite number.
    """
    if isinstance(factor, bool) or not isinstance(factor, numbers.Real) or not math.isfinite(factor):
        raise ValueError(f"factor={factor!r} is not a finite number. Use 1 to leave the intruders, 0 to take them out.")
    part = intruder_part(W0, W1, epsilon, k)
    return W1.detach().to(part.dtype) + (factor - 1) * part  # (out, in)


def random_cosine(size, draws=2000, seed=0):
    """Return the median of the largest |cosine| that a random direction has with an orthonormal basis: a yardstick.

    About √(2 ln n / n) in n dimensions: 0.28 for 96, 0.06 for 4096. An ε near it finds chance. Where W0's singular
    vectors are fewer than the dimensions, a random direction stays below this.

    Args:
        size: Dimensions of the space, out_features here.
        draws: How many directions are drawn.
        seed: Decides them.
    """
    generator = torch.Generator().manual_seed(seed)
    size, draws = check_count("size", size), check_count("draws", draws)
    vectors = torch.randn(draws, size, generator=generator)  # whatever the basis: a Gaussian looks alike in all of them
    return (vectors.abs().amax(1) / vectors.norm(dim=1)).median().item()


@dataclass(frozen=True)
class Amplification:
    """How much of W lies in the directions of an update, as Table 7 of Hu et al. 2021 has it; Frobenius norms.

    Attributes:
        update: ``‖ΔW‖`` in its r leading directions; all of it if its rank is r.
        along_update: ``‖UᵀWV‖``, with the r leading singular vectors of ΔW as U and V.
        along_own: The same with W's own, the most that any r directions can have.
        along_random: What r directions drawn at random have, the root of the mean square: ``r ‖W‖ / √(out · in)``.
        factor: ``update / along_update``, the amplification factor (inf where W has nothing there).
    """

    update: float
    along_update: float
    along_own: float
    along_random: float
    factor: float


def amplification(W, delta, rank):
    """Return how strongly an update amplifies what W has in the update's own directions: an `Amplification`.

    A factor well above 1 says that the update is large where W was small. Hu et al. 2021, section 7.3 and Table 7.

    Args:
        W: The pretrained weight, ``(out_features, in_features)``.
        delta: ΔW, of the same shape, such as ``LoRALayer.delta_weight()``.
        rank: How many directions of ΔW, from 1 to min(out, in).

    Raises:
        TypeError: As `lora_teach.measure.spectrum.spectrum`, or ``rank`` is not a whole number.
        ValueError: As there, shapes that differ, a rank out of range, or an update of zeros.
    """
    W, delta = _pair(W, delta, "W", "delta")
    rank = checked_rank(check_count("rank", rank), delta)
    U, sigma, Vh = torch.linalg.svd(delta, full_matrices=False)  # (out, n), (n,), (n, in)
    if not sigma[0] > 0:
        raise ValueError("delta is all zeros, so it has no directions. Train the update first.")
    update = sigma[:rank].norm().item()
    along_update = torch.linalg.matrix_norm(U[:, :rank].T @ W @ Vh[:rank].T).item()
    along_own = torch.linalg.svdvals(W)[:rank].norm().item()
    along_random = rank * torch.linalg.matrix_norm(W).item() / math.sqrt(W.numel())
    factor = update / along_update if along_update else math.inf
    return Amplification(update, along_update, along_own, along_random, factor)


def _cosines(W0, W1, k):
    k = checked_rank(check_count("k", k), W1)
    old, new = (torch.linalg.svd(W, full_matrices=False).U for W in (W0, W1))  # (out, n) each
    return (new[:, :k].T @ old).abs().amax(1)  # (k,)


def _pair(first, second, one="W0", other="W1"):
    first, second = checked_matrix(first), checked_matrix(second)
    if first.shape != second.shape:
        raise ValueError(
            f"{one} has the shape {tuple(first.shape)} and {other} {tuple(second.shape)}. Give two weights of one "
            "layer, both (out_features, in_features)."
        )
    dtype = torch.promote_types(first.dtype, second.dtype)
    return first.to(dtype), second.to(dtype)


def _check_epsilon(epsilon):
    if isinstance(epsilon, bool) or not isinstance(epsilon, numbers.Real) or not 0 < epsilon <= 1:
        raise ValueError(f"epsilon={epsilon!r} is no |cosine|. Use a number above 0, at most 1, such as {EPSILON}.")
