"""What keeps a model usable while it is trained: a step that fails is rolled back."""

import math
from contextlib import contextmanager

from lora_teach.loop.effects import Effects
from lora_teach.loop.history import NonFiniteLoss
from lora_teach.loop.interrupts import CtrlC
from lora_teach.loop.nonfinite import causes
from lora_teach.loop.optimizer import forget_what_is_not_finite, gradients_are_finite, set_lrs
from lora_teach.utils.processes import local, whole

import torch
from torch import nn


class Rollback:
    """Context manager around one update: an error inside it restores the parameters as they were before the update.

    A Ctrl-C may come between the updates of two parameters. An update may also make them infinite, which shows only
    afterwards: the checks then restore the parameters as well.

    Args:
        named: ``{name: parameter}`` of those that are trained.
        steps: Updates in the whole run.
        optimizer: The user's own, if there is one, which is used on after an error: its state stays finite as well.
        ctrl_c: The run's CtrlC: where what takes long and changes nothing is under way, it lets one in.
    """

    def __init__(self, named, steps, optimizer=None, ctrl_c=None):
        self.parameters, self.optimizer, self.steps = list(named.values()), optimizer, steps
        self.ctrl_c = ctrl_c or CtrlC()
        self.before = [p.detach().clone() for p in self.parameters]
        self.effects = Effects(named)

    def __enter__(self):
        copy_all(self.before, self.parameters)

    def __exit__(self, kind, error, traceback):
        if kind is not None:
            self.restore()

    def restore(self):
        """Give the parameters the values that they had before the last update."""
        copy_all(self.parameters, self.before)

    def check_loss(self, loss, step, batch=None, loss_fn=None):
        """Restore and raise NonFiniteLoss if ``loss`` is not finite; the batch may tell why."""
        if not math.isfinite(loss):
            self.restore()
            self._forget()
            raise NonFiniteLoss(f"the loss is {loss} at step {step}. {causes(batch, loss_fn, self.parameters)}", step)

    def check_gradients(self, loss, step):
        """Look whether each parameter has a gradient, and, before a user's optimiser keeps it, a finite one."""
        self.effects.after_backward()
        if self.optimizer is not None and not gradients_are_finite(self.parameters):
            raise NonFiniteLoss(f"a gradient is not finite at step {step}, whose loss was {loss:.4g}. {causes()}", step)

    def check_parameters(self, loss, step, norm=None):
        """Restore and raise NonFiniteLoss if a parameter is not finite: a gradient can be nan where the loss is not.

        ``norm`` is the parameters' total norm, if it is known already.
        """
        if not math.isfinite(norm_of(self.parameters) if norm is None else norm):
            self.restore()
            self._forget()
            what = f"the parameters are not finite after step {step}, whose loss was {loss:.4g}"
            raise NonFiniteLoss(f"{what}. {causes()}", step)
        self.effects.after_step(self.before, last=step == self.steps)

    def _forget(self):
        if self.optimizer is not None:
            forget_what_is_not_finite(self.optimizer)


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
def norm_of(tensors):
    """Return the total norm of all numbers in ``tensors``, a tensor of no dimension: finite if they all are."""
    return whole(nn.utils.get_total_norm([tensor.detach() for tensor in tensors]))


@torch.no_grad()
def copy_all(into, values):
    """Copy each of ``values`` into the tensor of the same place in ``into``."""
    # A few kernels on a GPU, where a loop takes one for each.
    torch._foreach_copy_([local(place) for place in into], [local(value) for value in values])
