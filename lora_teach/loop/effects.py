"""What is trained must have an effect: parameters that get no gradient, or never move, are named."""

import warnings

import torch

NO_GRADIENT = (
    "got no gradient at the first step, so they train nothing unless a later batch uses them. Is a layer's weight read "
    "while the layer is never called? Then leave it out"
)
NEVER_MOVED = (
    "never moved: their steps were too small for their dtype, their learning rate was 0, or their gradients were. "
    "Check lr, alpha and the dtype"
)


class Effects:
    """Watches one run's first steps: does each parameter get a gradient, and does each move?

    Args:
        named: ``{name: parameter}`` of those that are trained.
    """

    def __init__(self, named):
        self._named, self._steps = named, 0
        self._still = dict(enumerate(named.items()))  # those that have not moved yet, by place

    def after_backward(self):
        """Warn of parameters without a gradient at the first step; ValueError if it is all of them."""
        if self._steps:
            return
        without = [name for name, parameter in self._named.items() if parameter.grad is None]
        if len(without) == len(self._named):
            raise ValueError(
                "no trainable parameter got a gradient: the loss does not depend on them. Compute it from the model's "
                "output; a model that torch.compile compiled before the adapters were added must be compiled anew."
            )
        if without:
            self._warn(without, NO_GRADIENT)
            self._still = {place: pair for place, pair in self._still.items() if pair[0] not in without}

    def after_step(self, before, last):
        """Compare with the values ``before`` the step, in the same order; warn at the end of what never moved."""
        self._steps += 1
        if self._still:
            self._still = {place: pair for place, pair in self._still.items() if torch.equal(pair[1], before[place])}
        if last and self._still and self._steps > 1:  # A moves once B is not zero
            self._warn([name for name, _ in self._still.values()], NEVER_MOVED)

    def _warn(self, names, what):
        shown = ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
        warnings.warn(f"{len(names)} of {len(self._named)} trainable parameters {what}: {shown}.", stacklevel=4)
