"""Ctrl-C may come between any two lines: where that would leave a thing half done, it waits a moment."""

import importlib
import signal
import sys
import threading
from contextlib import contextmanager

from lora_teach.utils.processes import launched


class CtrlC:
    """Context manager around a run: within it a Ctrl-C waits, but where `let_in` is open.

    One that waits is delivered where the next such block begins, or at the end of the run. Only a main thread gets any.
    """

    def __init__(self):
        self._open, self._came, self._found = True, False, None
        self._giving = None  # the code that is about to yield what only its caller may lose

    def __enter__(self):
        found = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread() and callable(found):  # else it is ignored, or C's
            self._found = found
        self._open = False  # before the handler stands: what it raised here would leave it behind
        if self._found is not None:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exception):
        if self._found is not None and signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, self._found)
        self._open = True  # another run's handler may still lead here
        self._deliver()

    def let_in(self, at_once=True):
        """Return a context manager in which a Ctrl-C takes effect; ``at_once`` also one that came before."""
        return _LetIn(self, at_once)

    def _handle(self, number, frame):
        if self._open and (self._giving is None or self._giving not in _innermost(frame)):
            self._found(number, frame)
        else:
            self._came = True

    def _deliver(self):
        if self._came:
            self._came = False
            self._found(signal.SIGINT, None)


class _LetIn:
    def __init__(self, ctrl_c, at_once):
        self.ctrl_c, self.at_once = ctrl_c, at_once

    def __enter__(self):
        if self.at_once:
            self.ctrl_c._deliver()
        self.ctrl_c._giving = None if self.at_once else sys._getframe(1).f_code
        self.ctrl_c._open = True

    def __exit__(self, *exception):
        self.ctrl_c._open = False


def _innermost(frame):
    """Return the code that is running, and the code that called it."""
    return [one.f_code for one in (frame, frame and frame.f_back) if one]


@contextmanager
def held_back():
    """Within the block a Ctrl-C waits; it is delivered at the end. Only a main thread gets any."""
    with CtrlC():
        yield


@contextmanager
def ended_by_sigterm():
    """Within the block SIGTERM, a request to come to an end, does what Ctrl-C does; yields a list of any that came."""
    came = []
    found = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or found != signal.SIG_DFL or launched():
        yield came  # whoever started several processes ends them in its own way
        return

    def interrupt(number, frame):
        came.append(number)
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, found)


def import_what_training_needs():
    """Import what torch would import in the middle of a run's first step, which takes seconds."""
    # A package that is imported by half stays broken until the process ends.
    if "torch._dynamo" not in sys.modules:
        with held_back():
            importlib.import_module("torch._dynamo")  # by name, or ``torch`` would be a local variable here
