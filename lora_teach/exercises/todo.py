"""``TODO``, the blank in an exercise's stub: whatever is done with it ends the check with the answer TODO."""

from collections.abc import Mapping

MESSAGE = "a TODO is still to be filled in"
BINARY = "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or".split()
OTHERS = (
    "neg pos abs invert round trunc floor ceil lt le gt ge eq ne bool int float complex index len iter next reversed "
    "contains getitem setitem delitem call enter exit aenter aexit await aiter anext array array_ufunc array_function"
).split()


class Unfinished(AttributeError):
    """Raised where a stub's ``TODO`` is used as if it were a value; a check answers TODO."""


class _Todo:
    """The type of ``TODO``. Its operators, calls, comparisons and iteration raise `Unfinished`."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        raise Unfinished(MESSAGE)  # x @ TODO, torch.relu(TODO)

    def __getattr__(self, name):
        # Private names are asked for by copy, pickle, IPython and the like, not by a learner's code.
        raise AttributeError(name) if name.startswith("_") else Unfinished(MESSAGE)

    def __setattr__(self, name, value):
        raise Unfinished(MESSAGE)

    def __format__(self, spec):
        if spec:
            raise Unfinished(MESSAGE)
        return "TODO"

    def __repr__(self):
        return "TODO"

    def __reduce__(self):
        return "TODO"  # copies and unpickled ones are the same object


def _unfinished(self, *args, **kwargs):
    raise Unfinished(MESSAGE)


for _name in (*BINARY, *(f"r{name}" for name in BINARY), *OTHERS):
    setattr(_Todo, f"__{_name}__", _unfinished)

TODO = _Todo()


def finished(value):
    """Return ``value``, or end the check with TODO where a blank, ``TODO`` or ``...``, is left in it."""
    if _has_blank(value):
        raise Unfinished(MESSAGE)
    return value


def _has_blank(value):
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return any(map(_has_blank, value))
    return value is TODO or value is ...
