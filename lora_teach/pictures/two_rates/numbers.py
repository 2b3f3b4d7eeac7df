"""The digits that LoRA reads by A's learning rate and by B's, out of ``data/variants.json``."""

from statistics import mean

from lora_teach.measure.results import load_result


def table():
    """Return the rates, and the share of validation digits read right, ``[A's rate][B's rate]``, mean of the seeds."""
    result = load_result("variants")
    seeds = result["results"]["two_rates"]
    shares = [[mean(cells) for cells in zip(*rows, strict=True)] for rows in zip(*seeds, strict=True)]
    return result["settings"]["two_rates"]["learning_rates"], shares


def best_by_ratio(shares):
    """Return ``{places that B's rate is above A's in the grid: (best share, A's place)}``; 0 is the diagonal.

    >>> best_by_ratio([[0.1, 0.9], [0.3, 0.2]])
    {-1: (0.3, 1), 0: (0.2, 1), 1: (0.9, 0)}
    """
    count = len(shares)
    return {
        apart: max((shares[a][a + apart], a) for a in range(count) if 0 <= a + apart < count)
        for apart in range(1 - count, count)
    }
