"""Whether an answer is the expected one, what it looks like in a line, and in which way it is another."""

import inspect
from numbers import Number
from reprlib import Repr

import torch

SHORT = Repr()
SHORT.maxlist = SHORT.maxtuple = SHORT.maxdict = 20
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 100


def is_same(got, expected, rtol, atol):
    """Compare whole numbers exactly, other numbers and tensors within the tolerances, everything else by ``==``.

    A tensor of one number, a Fraction, an array is a number or a tensor like any other; True is no number.
    """
    if isinstance(expected, (list, tuple)):
        tensor = None if isinstance(got, (list, tuple)) else as_tensor(got)
        got = got if tensor is None else tensor.tolist()
        listed = isinstance(got, (list, tuple)) and len(got) == len(expected)
        return listed and all(is_same(one, other, rtol, atol) for one, other in zip(got, expected, strict=True))
    a, b = _scalar(got), _scalar(expected)
    if isinstance(b, torch.Tensor):
        a = as_tensor(got)
        if a is None or a.shape != b.shape or a.is_complex():
            return False
        return torch.allclose(a.double(), b.double(), rtol=rtol, atol=atol, equal_nan=True)
    if isinstance(b, bool) or not isinstance(b, Number):
        return isinstance(a, type(b)) and bool(a == b)
    if isinstance(a, bool) or not isinstance(a, Number) or type(a) is complex:
        return False
    if isinstance(b, int):
        return bool(a == b)
    try:
        return abs(float(a) - b) <= atol + rtol * abs(b) or (a != a and b != b)
    except OverflowError:
        return False


def as_tensor(value):
    """Return numbers, tensors, arrays and lists of them as a tensor on the CPU, anything else as None."""
    if isinstance(value, torch.Tensor):
        return (value if value.layout == torch.strided else value.to_dense()).detach().cpu()
    try:
        if isinstance(value, Number):
            return torch.tensor(value if isinstance(value, complex) else float(value))
        return torch.as_tensor(value) if isinstance(value, (list, tuple)) or hasattr(value, "__array__") else None
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def _scalar(value):
    """Return what holds one number as that number of Python's, other tensors as tensors, anything else as it is."""
    if isinstance(value, Number):
        return value.item() if hasattr(value, "item") else value  # numpy's numbers
    tensor = None if isinstance(value, (list, tuple)) else as_tensor(value)
    return value if tensor is None else tensor.item() if tensor.numel() == 1 else tensor


def describe(value):
    """Say in one line what a value is: its shape and first numbers if it is a tensor.

    >>> describe(torch.zeros(2, 3))
    'tensor of shape (2, 3): 0, 0, 0, 0, 0, 0'
    """
    tensor = as_tensor(value) if hasattr(value, "shape") else None
    if tensor is not None and not tensor.is_complex():
        numbers = [f"{number:.5g}" for number in tensor.flatten()[:8].tolist()]
        return f"tensor of shape {tuple(tensor.shape)}: {', '.join(numbers)}{', …' if tensor.numel() > 8 else ''}"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.7g}"
    return cut("None (is a return missing?)" if value is None else SHORT.repr(value))


def cut(text, length=100):
    """Return the text's beginning if it is long."""
    return text if len(text) <= length else text[: length - 1] + "…"


def hints(got, expected, rtol, atol):
    """Name what is wrong in ways that no exercise needs to list: type, shape, transposed, not finite, a factor."""
    a, b = as_tensor(got), as_tensor(expected)
    if inspect.isgenerator(got) or inspect.iscoroutine(got):
        yield "That has not been computed yet: return a value, without yield, async or a bracket that is not a list's."
    elif isinstance(got, bool) and not isinstance(expected, bool):
        yield "That is yes or no, and a number was expected."
    elif a is None or b is None or (isinstance(got, (list, tuple)) and isinstance(expected, Number)):
        if type(got) is not type(expected):
            yield f"That is of type {type(got).__name__}; expected was {type(expected).__name__}."
    elif a.is_complex() or not torch.isfinite(a.double()).all():
        yield "There are numbers in it that are not finite." if not a.is_complex() else "The numbers are complex."
    elif a.dim() == 2 and a.T.shape == b.shape and is_same(a.T, b, rtol, atol):
        yield "The numbers are right, but it is transposed."
    elif a.shape != b.shape and a.numel() * b.numel() != 1:
        yield f"The shape is {tuple(a.shape)}; expected was {tuple(b.shape)}."
    elif isinstance(expected, int) and abs(a.double().item() - expected) < 1 + 1e-3 * abs(expected):
        yield f"Whole numbers are compared exactly; this one is off by {a.double().item() - expected:+.6g}."
    elif b.numel() > 1 and not isinstance(expected, (list, tuple)):
        yield from _differing(a.double(), b.double(), rtol, atol)


def _differing(a, b, rtol, atol):
    where = [int(index) for index in torch.unravel_index((a - b).abs().argmax(), b.shape)]
    yield f"They differ most at {where}: came {a[tuple(where)].item():.5g}, expected {b[tuple(where)].item():.5g}."
    factor = (a * b).sum() / (b**2).sum()
    if abs(factor) > 1e-6 and is_same(a, factor * b, rtol, atol):
        yield f"Everything is {factor:.4g} times what it should be: is a factor missing, or there twice?"
