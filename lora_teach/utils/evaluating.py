"""Eval mode for a moment."""

from contextlib import contextmanager

import torch


@contextmanager
def evaluating(model):
    """Eval mode and no gradients inside; every module's own mode is restored at the end."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
