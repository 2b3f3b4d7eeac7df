"""Ctrl-C must not fall into an import: a package that is imported by half stays broken until the process ends."""

import importlib
import signal
import sys
import threading
from contextlib import contextmanager


@contextmanager
def held_back():
    """Within the block a Ctrl-C waits; it is delivered at the end. Only a main thread gets any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.default_int_handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def import_what_training_needs():
    """Import what torch would import in the middle of a run's first step, which takes seconds."""
    if "torch._dynamo" not in sys.modules:
        with held_back():
            importlib.import_module("torch._dynamo")  # by name, or ``torch`` would be a local variable here
