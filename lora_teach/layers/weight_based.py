"""What the layers have in common that look at the weight they stand beside: DoRA and PiSSA."""

from contextlib import contextmanager
from contextvars import ContextVar

from lora_teach.layers.build import is_conv1d

_starts = ContextVar("starts", default=True)


@contextmanager
def to_be_filled():
    """Within the block new layers leave out a start that takes a look at the weight: a file will fill them."""
    token = _starts.set(False)
    try:
        yield
    finally:
        _starts.reset(token)


class Attached:
    """To be mixed in before a LoRALayer: knows its module, whose parameters stay that module's own."""

    _beside = ()

    def attach(self, module):
        """Stand beside ``module`` and start from its weight.

        Raises:
            ValueError: A weight that is quantised, so that its numbers can't be read off it; and what `check` refuses.
        """
        if not module.weight.is_floating_point() or module.weight.dtype.itemsize == 1:
            raise ValueError(
                f"its weight is quantised ({module.weight.dtype}), and {self.label} reads its numbers. "
                "Use variant='lora' there, or an unquantised base."
            )
        self.check(module)
        self._beside = (module,)  # in a tuple, so that the base's parameters don't become this layer's
        if _starts.get():
            self.start()

    def check(self, module):
        """Raise ValueError for another reason not to stand beside ``module``."""

    def start(self):
        """Set what starts from the weight."""
        raise NotImplementedError

    def reset_parameters(self):
        """Start again: the update is zero."""
        super().reset_parameters()
        if self._beside:
            self.start()

    def module(self):
        """Return the module; RuntimeError if there is none yet."""
        if not self._beside:
            raise RuntimeError(
                f"this {type(self).__name__} stands beside no layer yet, and looks at that layer's weight. "
                "Call attach(linear) first."
            )
        return self._beside[0]

    def weight(self):
        """Return the module's weight in `delta_weight`'s orientation: (out_features, in_features) of a linear layer."""
        weight = self.module().weight
        return weight.T if is_conv1d(self.module()) else weight
