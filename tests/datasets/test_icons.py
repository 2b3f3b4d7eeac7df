"""The eight tiles and their ranks."""

from lora_teach.datasets.icons import icons

import pytest
import torch

RANKS = {
    "disc": 6, "stripes": 1, "diagonal": 16, "cross": 2, "noise": 16, "square": 1, "triangle": 8, "checkerboard": 2,
}  # fmt: skip


def test_eight_black_and_white_tiles():
    tiles = icons()
    assert list(tiles) == list(RANKS)
    for tile in tiles.values():
        assert tile.shape == (16, 16) and tile.dtype == torch.float32
        assert set(tile.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("name", RANKS)
def test_ranks(name):
    """Counted in whole numbers: rows are taken from each other until none is left, without rounding."""
    assert exact_rank(icons()[name]) == RANKS[name]


def test_the_diagonal_is_bare_and_costs_as_much_as_noise():
    tiles = icons()
    assert torch.equal(tiles["diagonal"], torch.eye(16))
    assert exact_rank(tiles["diagonal"]) == exact_rank(tiles["noise"]) == 16


def exact_rank(matrix):
    from fractions import Fraction

    rows = [[Fraction(int(value)) for value in row] for row in matrix.tolist()]
    rank = 0
    for column in range(len(rows[0])):
        pivot = next((row for row in rows[rank:] if row[column]), None)
        if pivot is None:
            continue
        rows.remove(pivot)
        rows.insert(rank, pivot)
        for index in range(rank + 1, len(rows)):
            factor = rows[index][column] / pivot[column]
            rows[index] = [a - factor * b for a, b in zip(rows[index], pivot, strict=True)]
        rank += 1
    return rank
