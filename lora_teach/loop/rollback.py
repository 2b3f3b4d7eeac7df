"""What keeps a model usable while it is trained: a step that fails is rolled back."""

import math
from contextlib import contextmanager

from lora_teach.loop.history import NonFiniteLoss
from lora_teach.loop.optimizer import set_lrs
from lora_teach.loop.words import said

import torch
from torch import nn

BACK = "The parameters are back where all was last finite."


class Rollback:
    """Context manager around one update: an error inside it restores the parameters as they were before the update.

    A Ctrl-C may come between the updates of two parameters. An update may also make them infinite, which shows only
    afterwards: the two checks then restore the parameters as well.
    """

    def __init__(self, parameters):
        self.parameters = parameters
        self.before = [p.detach().clone() for p in parameters]

    def __enter__(self):
        copy_all(self.before, self.parameters)

    def __exit__(self, kind, error, traceback):
        if kind is not None:
            self.restore()

    def restore(self):
        """Give the parameters the values that they had before the last update."""
        copy_all(self.parameters, self.before)

    def check_loss(self, loss, step):
        """Restore and raise NonFiniteLoss if ``loss`` is not finite."""
        if not math.isfinite(loss):
            self.restore()
            what = f"the loss is {loss} at step {step}"
            raise NonFiniteLoss(f"{said('non_finite', what=what)} {BACK}", step)

    def check_parameters(self, loss, step):
        """Restore and raise NonFiniteLoss if a parameter is not finite: a gradient can be nan where the loss is not."""
        if not math.isfinite(nn.utils.get_total_norm(p.detach() for p in self.parameters)):
            self.restore()
            what = f"the parameters are not finite after step {step}, whose loss was {loss:.4g}"
            raise NonFiniteLoss(f"{said('non_finite', what=what)} {BACK}", step)


@contextmanager
def left_as_found(model, optimizer, lrs):
    """Afterwards each module is in the mode it had, no gradients are left, and any given ``lrs`` are set."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        optimizer.zero_grad(set_to_none=True)
        if lrs is not None:
            set_lrs(optimizer, lrs)
        for module, mode in modes:
            module.training = mode


@torch.no_grad()
def copy_all(into, values):
    """Copy each of ``values`` into the tensor of the same place in ``into``."""
    for place, value in zip(into, values, strict=True):
        place.copy_(value)
