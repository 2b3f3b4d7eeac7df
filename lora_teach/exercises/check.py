"""What a check of an exercise says, and the helpers to write one.

A check takes the learner's object, tries it, and prints one of three answers: ``TODO`` (not begun), ``NOT YET`` (what
went in, what came out, what was expected, and which usual mistake gives that) or ``PASS``. It never raises, so that a
notebook with unsolved exercises runs to its end.

    >>> @check
    ... def check_count_layer(count_layer):
    ...     given = "count_layer(in_features=64, out_features=32, rank=4)"
    ...     mistakes = [(256, "That is lora_A alone: lora_B has rank * out_features numbers more.")]
    ...     compare(count_layer(64, 32, 4), 384, given, mistakes)
    ...     return "both factors counted"
    >>> result = check_count_layer(lambda in_features, out_features, rank: TODO)
    TODO: write the function you pass to check_count_layer, then run this cell again.
    >>> result = check_count_layer(lambda in_features, out_features, rank: in_features * rank)
    NOT YET: count_layer(in_features=64, out_features=32, rank=4)
      came:     256
      expected: 384
      That is lora_A alone: lora_B has rank * out_features numbers more.
    >>> result = check_count_layer(lambda in_features, out_features, rank: rank * (in_features + out_features))
    PASS: both factors counted
"""

import functools
import sysconfig
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Number
from pathlib import Path

import torch

PACKAGE = Path(__file__).resolve().parents[1]
ELSEWHERE = [PACKAGE, *(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib"))]


@dataclass(frozen=True)
class Result:
    """The answer of a check: ``status`` is "TODO", "NOT YET" or "PASS"."""

    status: str
    message: str

    @property
    def passed(self):
        """Whether the exercise is solved."""
        return self.status == "PASS"

    def __str__(self):
        return f"{self.status}: {self.message}"

    def _ipython_display_(self):
        """Show nothing: the check has printed the answer already."""


class NotYet(Exception):
    """Ends a check with the answer NOT YET and this message."""


class Unfinished(AttributeError):
    """Raised where a stub's ``TODO`` is used as if it were a value; a check answers TODO."""


class _Todo:
    """The blank that a stub holds. Computing with it ends the check with the answer TODO."""

    def _unfinished(self, *args, **kwargs):
        raise Unfinished("a TODO is still to be filled in")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _unfinished
    __matmul__ = __rmatmul__ = __pow__ = __rpow__ = __floordiv__ = __rfloordiv__ = __mod__ = __neg__ = _unfinished
    __lt__ = __le__ = __gt__ = __ge__ = __float__ = __int__ = __index__ = __len__ = __iter__ = _unfinished
    __getitem__ = __call__ = _unfinished

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        """Let ``x @ TODO`` and ``torch.relu(TODO)`` end the same way as ``2 * TODO``."""
        raise Unfinished("a TODO is still to be filled in")

    def __getattr__(self, name):
        # Private names are asked for by copy, pickle, IPython and the like, not by a learner's code.
        raise AttributeError(name) if name.startswith("_") else Unfinished("a TODO is still to be filled in")

    def __repr__(self):
        return "TODO"

    def __reduce__(self):
        return "TODO"  # copies and unpickled ones are the same object


TODO = _Todo()


def check(function):
    """Turn a function that tries a learner's object into a check that prints its answer and never raises.

    The function tries its arguments with `compare` and `expect`. Ending without an exception means PASS; what it
    returns, if it is text, is what PASS says.
    """

    @functools.wraps(function)
    def checked(*args, **kwargs):
        result = _answer(function, args, kwargs)
        print(result)
        return result

    return checked


def expect(condition, message):
    """End the check with NOT YET and ``message`` unless ``condition`` holds."""
    if not condition:
        raise NotYet(message)


def finished(value):
    """Return ``value``, or end the check with TODO where a blank, ``TODO`` or ``...``, is left in it."""
    if _is_unfinished(value):
        raise Unfinished("a TODO is still to be filled in")
    return value


def compare(got, expected, given, mistakes=(), *, rtol=1e-5, atol=1e-6):
    """End the check unless ``got`` is ``expected``; say what went in, what came, what was expected and why.

    Numbers and tensors, and lists of them, are compared within ``rtol`` and ``atol`` (a tensor of one number counts as
    a number, an array as a tensor), everything else by ``==``.

    Args:
        given: The input in words, best as the call that was made: ``"count_layer(64, 32, rank=4)"``.
        mistakes: Pairs (a usual wrong answer, what to say to who gave it), compared in the same way as ``expected``.
    """
    if _is_same(finished(got), expected, rtol, atol):
        return
    lines = [given, f"  came:     {describe(got)}", f"  expected: {describe(expected)}"]
    for wrong, explanation in mistakes:
        if _is_same(got, wrong, rtol, atol):
            lines.append(f"  {explanation}")
            break
    else:
        lines += [f"  {hint}" for hint in _hints(got, expected, rtol, atol)]
    raise NotYet("\n".join(lines))


def describe(value):
    """Say in one line what a value is: its shape and first numbers if it is a tensor.

    >>> describe(torch.zeros(2, 3))
    'tensor of shape (2, 3): 0, 0, 0, 0, 0, 0'
    """
    if not isinstance(value, torch.Tensor) and _as_tensor(value) is not None and hasattr(value, "shape"):
        value = _as_tensor(value)  # an array
    if isinstance(value, torch.Tensor):
        numbers = [f"{number:.5g}" for number in value.detach().flatten()[:8].tolist()]
        shape = tuple(value.shape)
        return f"tensor of shape {shape}: {', '.join(numbers)}{', …' if value.numel() > 8 else ''}"
    if isinstance(value, float):
        return f"{value:.7g}"
    text = "None (is a return missing?)" if value is None else repr(value)
    return text if len(text) <= 100 else text[:99] + "…"


def _answer(function, args, kwargs):
    try:
        finished([*args, *kwargs.values()])
        message = function(*args, **kwargs)
    except NotYet as reason:
        return Result("NOT YET", str(reason))
    except Unfinished:
        return _todo(function, args)
    except Exception as error:
        return Result("NOT YET", _explain(error))
    return Result("PASS", message if isinstance(message, str) else "right on every input that was tried.")


def _todo(function, args):
    name = next((getattr(arg, "__name__", "") for arg in args if callable(arg)), "")
    what = name if name.isidentifier() else f"the function you pass to {function.__name__}"
    return Result("TODO", f"write {what}, then run this cell again.")


def _explain(error):
    """Name a learner's exception and the line of their code in which it arose, without paths."""
    message = f"the code raised {type(error).__name__}: {error}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if not frame.filename.startswith("<") and not any(file.is_relative_to(folder) for folder in ELSEWHERE):
            return f"{message}\n  in line {frame.lineno}, in {frame.name}: {frame.line}"
    return message


def _is_unfinished(value):
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return any(_is_unfinished(part) for part in value)
    return value is TODO or value is ...


def _as_tensor(value):
    """Return numbers, tensors and arrays as a tensor, anything else as None."""
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, Number) or hasattr(value, "__array__"):
        try:
            return torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            return None
    return None


def _is_same(got, expected, rtol, atol):
    if isinstance(got, (list, tuple)) and isinstance(expected, (list, tuple)):
        return len(got) == len(expected) and all(map(lambda a, b: _is_same(a, b, rtol, atol), got, expected))
    a, b = _as_tensor(got), _as_tensor(expected)
    if a is None or b is None:
        return a is None and b is None and type(got) is type(expected) and bool(got == expected)
    if a.numel() == b.numel() == 1:
        a, b = a.reshape(()), b.reshape(())
    wide = torch.complex128 if a.is_complex() or b.is_complex() else torch.float64
    return a.shape == b.shape and torch.allclose(a.to(wide), b.to(wide), rtol=rtol, atol=atol)


def _hints(got, expected, rtol, atol):
    """Name what is wrong with a tensor in ways that no exercise needs to list: shape, transposed, nan, a factor."""
    a, b = _as_tensor(got), _as_tensor(expected)
    if a is None or b is None:
        if type(got) is not type(expected):
            yield f"That is of type {type(got).__name__}; expected was {type(expected).__name__}."
        return
    if a.is_floating_point() and not torch.isfinite(a).all():
        yield "There are numbers in it that are not finite."
    elif a.dim() == 2 and a.T.shape == b.shape and _is_same(a.T, b, rtol, atol):
        yield "The numbers are right, but it is transposed."
    elif a.shape != b.shape and a.numel() * b.numel() > 1:
        yield f"The shape is {tuple(a.shape)}; expected was {tuple(b.shape)}."
    elif b.numel() > 1:
        difference = (a.double() - b.double()).abs()
        where = [int(index) for index in torch.unravel_index(difference.argmax(), b.shape)]
        place = tuple(where)
        yield f"They differ most at {where}: came {a[place].item():.5g}, expected {b[place].item():.5g}."
        factor = (a.double() * b.double()).sum() / (b.double() ** 2).sum()
        if abs(factor) > 1e-6 and _is_same(a.double(), factor * b.double(), rtol, atol):
            yield f"Everything is {factor:.4g} times what it should be: is a factor missing, or there twice?"
