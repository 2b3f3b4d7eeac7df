"""A photo as a matrix: what a low-rank matrix can show, and an update for a LoRA layer to find."""

import torch

# The square of scikit-learn's china.jpg (640 × 427 pixels) that holds the pagoda: left, upper, right, lower.
PAGODA = (42, 22, 372, 352)


def pagoda(size=96):
    """Return the pagoda as a grey picture, float32 (size, size) from 0 (black) to 1 (white); ``size`` is from 2 to 330.

    Source: ``sklearn.datasets.load_sample_image("china.jpg")``, a photo by danielbuechele, CC BY 2.0.
    """
    largest = PAGODA[2] - PAGODA[0]
    if not 2 <= size <= largest:
        raise ValueError(f"size={size} is out of range: the crop is {largest} pixels wide. Use 2..{largest}.")
    import numpy  # here, since only this function needs the three of them
    from PIL import Image
    from sklearn.datasets import load_sample_image

    photo = Image.fromarray(load_sample_image("china.jpg")).convert("L").crop(PAGODA)
    small = photo.resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(numpy.asarray(small, dtype="float32") / 255)  # (size, size)


def centred_pagoda():
    """Return the pagoda with its mean grey as zero, so that a matrix of zeros is a plain grey sheet: ``(96, 96)``."""
    grey = pagoda()
    return grey - grey.mean()
