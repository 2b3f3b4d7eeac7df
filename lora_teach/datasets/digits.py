"""Handwritten digits of 8 × 8 pixels: upright ones for the base, changed ones to adapt it to.

Source: ``sklearn.datasets.load_digits``, 1,797 pictures (UCI ML repository, Alpaydin and Kaynak, CC BY 4.0).
"""

from functools import lru_cache
from typing import NamedTuple

import torch

SIDE = 8  # pixels


class Digits(NamedTuple):
    """Pairs ``(x, y)``: x float32 (batch, 64) from 0 (paper) to 1 (ink), y int64 (batch,), the digit."""

    train: tuple
    validation: tuple
    test: tuple


def upright():
    """Return the digits as they were written: 1,197 to train on, 300 for validation, 300 for the test.

    The split never changes, and ``rotated`` and ``inverted`` use the same one: a picture that one of them tests on is
    in no other's training set.
    """
    return _split(*_load())


def rotated(angle):
    """Return the digits turned by ``angle`` degrees, anticlockwise if positive, about the picture's centre.

    The corners that turn out of the picture are lost; what turns in is paper.
    """
    x, y = _load()
    turned = (x @ _rotation(float(angle))).clamp(0, 1)  # (batch, 64); cubic splines overshoot a little
    return _split(turned, y)


def inverted():
    """Return the digits as white ink on black paper: every pixel x becomes 1 − x."""
    x, y = _load()
    return _split(1 - x, y)


@lru_cache(maxsize=1)
def _load():
    """Return all pictures and digits in the fixed shuffled order, pixels from 0 to 1."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
    x = torch.from_numpy(digits.data).float()[order] / 16  # (batch, 64); the file counts ink from 0 to 16
    y = torch.from_numpy(digits.target).long()[order]  # (batch,)
    return x, y


@lru_cache(maxsize=64)
def _rotation(angle):
    """Return the (64, 64) matrix that turns a flattened picture, ``x @ matrix``: interpolation is linear in pixels."""
    from scipy.ndimage import rotate

    single = torch.eye(SIDE * SIDE).reshape(-1, SIDE, SIDE).numpy()  # (64, 8, 8)
    turned = rotate(single, angle, axes=(1, 2), reshape=False, order=3, mode="constant")
    return torch.from_numpy(turned).reshape(-1, SIDE * SIDE)  # (64, 64)


def _split(x, y):
    parts = [slice(0, -600), slice(-600, -300), slice(-300, None)]
    return Digits(*((x[part].clone(), y[part].clone()) for part in parts))  # clones: nobody can change the cached ones
