"""How sure a share or a mean is: intervals that hold the true value in 95 of 100 samples."""

import math
from collections.abc import Sequence

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
