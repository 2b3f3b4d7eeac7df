"""Eight black-and-white tiles of 16 × 16, simple to look at and of very different rank."""

import torch

SIZE = 16


def icons():
    """Return the tiles, ``{name: float32 (16, 16) of 0 and 1}``, always the same ones, in no particular order."""
    place = torch.arange(SIZE)  # 0 to 15, for rows as for columns
    row, column = place[:, None], place[None, :]
    middle = (place >= 6) & (place < 10)
    inner = (place >= 4) & (place < 12)
    coins = torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    tiles = {
        "disc": (row - 7.5) ** 2 + (column - 7.5) ** 2 < 60,
        "stripes": (column // 2 % 2 == 0).expand(SIZE, SIZE),
        "diagonal": row == column,
        "cross": middle[:, None] | middle[None, :],
        "noise": coins < 0.5,
        "square": inner[:, None] & inner[None, :],
        "triangle": (column - 7.5).abs() < row // 2 + 1,
        "checkerboard": (row // 2 + column // 2) % 2 == 0,
    }
    return {name: tile.float() for name, tile in tiles.items()}
