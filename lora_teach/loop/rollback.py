"""What keeps a model usable while it is trained: a step that fails is undone."""

import math

import torch
from torch import nn


class Undo:
    """Context manager around one update: what goes wrong inside puts the parameters back as they were before it.

    A Ctrl-C may come between the updates of two parameters, and an update may make them infinite; `put_back` is for the
    latter, which shows only afterwards.
    """

    def __init__(self, parameters):
        self.parameters = parameters
        self.before = [p.detach().clone() for p in parameters]

    def __enter__(self):
        copy_all(self.before, self.parameters)

    def __exit__(self, kind, error, traceback):
        if kind is not None:
            self.put_back()

    def put_back(self):
        """Give the parameters the values that they had before the last update."""
        copy_all(self.parameters, self.before)

    def is_finite(self):
        """Tell whether every parameter is finite now."""
        return math.isfinite(nn.utils.get_total_norm(p.detach() for p in self.parameters))


@torch.no_grad()
def copy_all(into, values):
    """Copy each of ``values`` into the tensor of the same place in ``into``."""
    for place, value in zip(into, values, strict=True):
        place.copy_(value)
