"""How far an update turned a weight's rows, and how much longer or shorter it made them: DoRA's two coordinates."""

from statistics import correlation, mean

from lora_teach.measure.random_update import random_like

import torch
import torch.nn.functional as F


def turned_and_stretched(weight, update):
    """Return two means over the rows of a weight: how far ``update`` turns them, and by which share it changes lengths.

    Liu et al. 2024 (arXiv 2402.09353), section 3.2, call them ΔD, 1 − cos of the angle, and ΔM. Theirs is a length;
    here it is a share of the row's own length, so that wide layers and narrow ones fit into one picture.

    Args:
        weight: ``(out_features, in_features)``, before.
        update: What was added to it, the same shape.

    >>> turned_and_stretched(torch.eye(2), torch.eye(2))
    (0.0, 1.0)
    """
    after = weight + update
    before_length, length = (torch.linalg.vector_norm(matrix, dim=1) for matrix in (weight, after))  # (out_features,)
    turned = 1 - F.cosine_similarity(after, weight, dim=1)  # (out_features,)
    return turned.mean().item(), ((length - before_length).abs() / before_length).mean().item()


def layer_points(before, updates, rank=None, seed=0):
    """Return ``{"learned": [(ΔD, ΔM), …], "random": […]}``, one pair a layer.

    ``before`` and ``updates`` are ``{layer: matrix}``; "random" has updates of the same norms and ranks in their place.
    """
    draw = torch.Generator().manual_seed(seed)
    pairs = [(before[name], update) for name, update in updates.items()]
    return {
        "learned": [turned_and_stretched(weight, update) for weight, update in pairs],
        "random": [turned_and_stretched(weight, random_like(update, rank, draw)) for weight, update in pairs],
    }


def slope(points):
    """Return the correlation of ΔD and ΔM over layers, from −1 to 1."""
    return correlation(*zip(*points, strict=True))


def slopes(runs, step, which="learned"):
    """Return the correlation at this step of every run in ``[{step: layer_points(…)}, …]``, and their mean."""
    each = [slope(run[step][which]) for run in runs]
    return each, mean(each)
