"""What a check of an exercise says, and the helpers to write one.

A check takes the learner's object, tries it, and prints one of three answers: ``TODO`` (not begun), ``NOT YET`` (which
case, what came out, what was expected, and which usual mistake gives that) or ``PASS``. It never raises, so that a
notebook with unsolved exercises runs to its end. The failing case's inputs are kept in the check's ``last_input``.

    >>> from lora_teach.exercises.todo import TODO
    >>> @check
    ... def check_count_layer(count_layer):
    ...     for sizes in cases([(64, 32, 4), (10, 3, 1)]):
    ...         in_features, out_features, rank = sizes
    ...         got = attempt(count_layer, in_features=in_features, out_features=out_features, rank=rank)
    ...         mistakes = [(in_features * rank, "That is lora_A alone: lora_B has rank * out_features numbers more.")]
    ...         compare(got, rank * (in_features + out_features), mistakes)
    ...     return "both factors counted"
    >>> result = check_count_layer(lambda in_features, out_features, rank: TODO)
    TODO: write count_layer, then run this cell again.
    >>> result = check_count_layer(lambda in_features, out_features, rank: in_features * rank)
    NOT YET: case 1 of 2: count_layer(in_features=64, out_features=32, rank=4)
      came:     256
      expected: 384
      That is lora_A alone: lora_B has rank * out_features numbers more.
      again:    count_layer(*check_count_layer.last_input)
    >>> result = check_count_layer(lambda i, o, r: r * (i + o))
    PASS: both factors counted
"""

import functools
import inspect
import time
import traceback
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import dataclass

from lora_teach.exercises.compare import SHORT, cut, describe, hints, is_same
from lora_teach.exercises.guard import TooLong, is_learners, put_back, time_limit
from lora_teach.exercises.thread import keep_passed
from lora_teach.exercises.todo import TODO, Unfinished, finished
from lora_teach.layer import LoRALayer

import torch
from torch import nn

LIMIT = 8  # seconds that the learner's code may take in one check, all in all


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


class _Trial:
    """Where a check has got to: the case, the call, the learner's function that runs, and the time that is left."""

    def __init__(self, learners):
        self.learners = learners  # {name in the check's signature: what the learner gave}
        self.case = self.call = ""
        self.running = next(iter(learners), "")
        self.left = LIMIT
        self.last_input = None

    def name(self, function):
        """Return what a learner's function is called, in a word: its own name, else the check's for it."""
        own = getattr(function, "__name__", "")
        return own if own.isidentifier() else next((k for k, v in self.learners.items() if v is function), "")


_now = ContextVar("trial")


def check(function):
    """Turn a function that tries a learner's object into a check that prints its answer and never raises.

    The function calls its arguments through `attempt` and judges with `compare` and `expect`. Ending without an
    exception means PASS; what it returns, if it is text, is what PASS says. An argument with a default, such as a list
    of examples, needn't be something to call.
    """

    @functools.wraps(function)
    def checked(*args, **kwargs):
        parameters = inspect.signature(function).parameters
        given = dict(zip(parameters, args, strict=False)) | kwargs
        trial = _Trial({name: one for name, one in given.items() if _is_code(parameters.get(name))})
        token = _now.set(trial)
        try:
            with put_back(generators=True):
                result = _answer(function, args, kwargs, trial)
        finally:
            _now.reset(token)
        checked.last_input = trial.last_input if result.status == "NOT YET" else None
        print(result)
        if result.passed:
            keep_passed(function.__name__, list(trial.learners.values()))
        return result

    checked.last_input = None
    return checked


def cases(given):
    """Yield the parts of a list; what goes wrong with one of them is said to be in "case 3 of 6"."""
    for number, case in enumerate(given, 1):
        _now.get().case = f"case {number} of {len(given)}: "
        yield case
    _now.get().case = _now.get().call = ""


def attempt(function, changes=(), **given):
    """Return what the learner's function makes of these inputs, which it gets as copies, by position in this order.

    A parameter that the learner made keyword-only gets its input by name.

    Args:
        changes: Names of the inputs that it may change: it gets these themselves. A change of others is NOT YET.
        given: The inputs under the names that the message gives them; the learner's own may be others.
    """
    trial = _now.get()
    trial.running = trial.name(function)
    trial.call = f"{trial.running}({', '.join(f'{name}={_shown(value)}' for name, value in given.items())})"
    trial.last_input = tuple(_copy(value) if name in changes else value for name, value in given.items())
    rest = deepcopy({name: value for name, value in given.items() if name not in changes})
    inputs = {name: rest.get(name, value) for name, value in given.items()}
    by_name = {name: inputs.pop(name) for name in _keyword_only(function) & given.keys()}
    got = finished(run(function, *inputs.values(), **by_name))
    for name, value in rest.items():
        cure = "its parameters should stay as they are" if isinstance(value, nn.Module) else "work on a copy of it"
        expect(_is_as_before(value, given[name]), f"It changed its input {name} in place: {cure}.")
    return got


def run(function, *args, **kwargs):
    """Call what runs the learner's code, within the time limit, and put back what that changed."""
    trial, began = _now.get(), time.monotonic()
    try:
        with put_back(), time_limit(max(trial.left, 0.1)):
            return function(*args, **kwargs)
    finally:
        trial.left -= time.monotonic() - began


def expect(condition, message):
    """End the check with NOT YET and ``message`` unless ``condition`` holds."""
    if not condition:
        raise NotYet(message)


def compare(got, expected, mistakes=(), *, what="", rtol=1e-5, atol=1e-6):
    """End the check unless ``got`` is ``expected``; say what came, what was expected and why.

    Whole numbers are compared exactly, other numbers and tensors within ``rtol`` and ``atol``, everything else by
    ``==``; lists part by part. A tensor of one number counts as a number, an array as a tensor.

    Args:
        mistakes: Pairs (a usual wrong answer, what to say to who gave it), compared in the same way as ``expected``.
        what: What is compared, where it is not what the call returned.
    """
    if is_same(finished(got), expected, rtol, atol):
        return
    known = [said for wrong, said in mistakes if is_same(got, wrong, rtol, atol)][:1]
    lines = [f"came:     {describe(got)}", f"expected: {describe(expected)}"]
    raise NotYet("\n  ".join([*([what] if what else []), *lines, *(known or hints(got, expected, rtol, atol))]))


class Draw:
    """Seeded random sizes and numbers: the same in every run, so that a case which fails fails again."""

    def __init__(self, seed=0):
        self.generator = torch.Generator().manual_seed(seed)

    def sizes(self, count, low, high):
        """Return so many different whole numbers from low to high."""
        return (torch.randperm(high - low + 1, generator=self.generator)[:count] + low).tolist()

    def matrix(self, *shape):
        """Return standard normal numbers of this shape, float32."""
        return torch.randn(shape, generator=self.generator)

    def layer(self, in_features, out_features, rank, scaling):
        """Return a LoRALayer that has learned: its B is random too."""
        layer = LoRALayer(in_features, out_features, rank=rank, alpha=scaling * rank)
        with torch.no_grad():
            layer.lora_A.copy_(self.matrix(in_features, rank))
            layer.lora_B.copy_(self.matrix(rank, out_features))
        return layer


def _answer(function, args, kwargs, trial):
    """Return the Result of a check; only a real Ctrl-C escapes."""
    try:
        for name, given in trial.learners.items():
            trial.running = trial.name(given) or name
            expect(
                callable(finished(given)), f"{name} itself is wanted, not {describe(given)}: leave its brackets away."
            )
        message = function(*args, **kwargs)
    except KeyboardInterrupt:
        raise
    except TooLong as error:
        message = f"It ran for more than {LIMIT} seconds and was stopped: does a loop never end?{_line(error)}"
    except NotYet as reason:
        message = str(reason)
    except BaseException as error:
        if _blank(error):
            return Result("TODO", f"write {trial.running}, then run this cell again.")
        said = cut(" ".join(str(error).split()), 300)
        message = f"the code raised {type(error).__name__}: {said}{_line(error)}"
    else:
        return Result("PASS", message if isinstance(message, str) else "right on every input that was tried.")
    where = (trial.case + trial.call).removesuffix(": ")
    again = f"\n  again:    {trial.running}(*{function.__name__}.last_input)" if trial.last_input else ""
    return Result("NOT YET", f"{where}\n  {message}{again}" if where else message + again)


def _keyword_only(function):
    """Return the names of a function's keyword-only parameters."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # what is written in C may not tell
        return set()
    return {one.name for one in parameters if one.kind is one.KEYWORD_ONLY}


def _is_code(parameter):
    """Tell whether a check's parameter stands for something that the learner wrote to be called."""
    return parameter is None or parameter.default is parameter.empty


def _blank(error):
    """Tell whether it was a TODO that raised, if need be behind the error of a library, or named in its text."""
    while error is not None and not isinstance(error, Unfinished) and type(TODO).__name__ not in str(error):
        error = error.__cause__ or error.__context__
    return error is not None


def _line(error):
    """Name the line of the learner's code in which an exception arose, without paths."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if is_learners(frame.filename):
            return f"\n  in line {frame.lineno}, in {frame.name}: {frame.line}"
    return ""


def _shown(value):
    """Return an input in a word or two."""
    if isinstance(value, torch.Tensor):
        few = value.dim() == 1 and len(value) < 9
        numbers = ", ".join(f"{number:.4g}" for number in value.tolist()) if few else ""
        return f"tensor([{numbers}])" if few else f"tensor of shape {tuple(value.shape)}"
    if isinstance(value, LoRALayer):
        sizes = f"{value.in_features} → {value.out_features}, rank={value.rank}, scaling={value.scaling:g}"
        return f"LoRALayer({sizes})"
    if isinstance(value, nn.Linear):
        return f"Linear({value.in_features} → {value.out_features})"
    if isinstance(value, nn.Module):
        return type(value).__name__
    if type(value) in (list, tuple) and value and isinstance(value[0], (nn.Module, torch.Tensor)):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, list) and value and isinstance(value[0], tuple) and isinstance(value[0][0], torch.Tensor):
        return f"{len(value)} batches, the first of {', '.join(map(_shown, value[0]))}"
    if isinstance(value, dict):
        shown = [f"{key!r}: {_shown(part)}" for key, part in value.items()]
        return "{" + ", ".join(shown if len(shown) < 5 else [shown[0], f"… {len(shown)} in all"]) + "}"
    if "object at 0x" in repr(value) or inspect.isroutine(value):  # an address tells nobody anything
        return getattr(value, "__name__", type(value).__name__)
    return cut(SHORT.repr(value), 80)


def _copy(value):
    """Return a copy; what a learner made may be of a kind that can't be copied."""
    try:
        return deepcopy(value)
    except Exception:
        return value


def _is_as_before(value, before):
    """Tell whether an input's numbers are still those of the copy that was kept of it."""
    if isinstance(before, nn.Module):
        return isinstance(value, nn.Module) and _is_as_before(value.state_dict(), before.state_dict())
    if isinstance(before, dict):
        return value.keys() == before.keys() and all(_is_as_before(value[key], before[key]) for key in before)
    if isinstance(before, (list, tuple)):
        return len(value) == len(before) and all(map(_is_as_before, value, before))
    if isinstance(before, torch.Tensor):
        return before.is_meta or (value.shape == before.shape and torch.equal(value, before))
    return value == before if isinstance(before, (int, float, str)) else True
