"""How sure a share or a mean is: intervals that hold the true value in 95 of 100 samples."""

import math
import statistics
from collections.abc import Sequence

# Student's t by degrees of freedom: the middle 95 % of what a mean of one more values than these may come to.
STUDENT_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
Z = 1.959964  # standard deviations: the middle 95 % of a normal distribution


def share_interval(right: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share, ``right`` of ``count``; it stays within 0 and 1, also at none and all.

    >>> [round(end, 3) for end in share_interval(18, 20)]
    [0.699, 0.972]
    """
    if not 0 <= right <= count or count < 1:
        raise ValueError(f"right={right} of count={count} is no share. Use 0 <= right <= count, and at least one.")
    share, z2 = right / count, Z * Z / count
    middle, half = share + z2 / 2, Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count))
    low, high = (middle - half) / (1 + z2), (middle + half) / (1 + z2)
    return low if right else 0.0, high if right < count else 1.0  # exactly, whatever rounding does


def mean_interval(values: Sequence[float], weights: Sequence[float] | None = None) -> tuple[float, float, float]:
    """Return the weighted mean of ``values`` and its 95 % interval, ``(mean, low, high)``, from how far they lie apart.

    The normal approximation, good from about 20 values on; one value alone has an interval without an end.

    Args:
        values: One for each example, such as its loss.
        weights: What each counts, such as its tokens; alike if left out.
    """
    weights = [1.0] * len(values) if weights is None else weights
    count, total = len(values), sum(weights)
    if not count or total <= 0:
        raise ValueError("there is no value that counts, so there is no mean.")
    mean = sum(value * weight for value, weight in zip(values, weights, strict=True)) / total
    if count == 1:
        return mean, -math.inf, math.inf
    apart = sum((weight * (value - mean)) ** 2 for value, weight in zip(values, weights, strict=True))
    half = Z * math.sqrt(apart * count / (count - 1)) / total
    return mean, mean - half, mean + half


def few_interval(scores: Sequence[float]) -> tuple[float, float]:
    """Return ``(mean, half)`` of a few scores, such as one a seed: the mean, and half its 95 % interval by Student's t.

    >>> mean, half = few_interval([0.75, 0.72, 0.78])
    >>> f"{mean:.2f} ± {half:.2f}"
    '0.75 ± 0.07'
    """
    count = len(scores)
    if count - 1 not in STUDENT_T:
        raise ValueError(f"{count} scores are no few. Use 2 to {max(STUDENT_T) + 1}; mean_interval takes more.")
    return statistics.mean(scores), STUDENT_T[count - 1] * statistics.stdev(scores) / math.sqrt(count)
