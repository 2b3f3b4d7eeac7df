"""A learner's code is stopped when it runs too long, and what it changed of Python's and torch's state is put back."""

import ctypes
import random
import signal
import sys
import sysconfig
import threading
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from torch.nn.modules import module as torch_modules

PACKAGE = Path(__file__).resolve().parents[1]
ELSEWHERE = [PACKAGE, *(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib"))]
AGAIN = 0.3  # seconds until code that caught TooLong is stopped once more
KEPT = (
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_num_threads, torch.set_num_threads),
)
GENERATORS = (
    (torch.get_rng_state, torch.set_rng_state),
    (np.random.get_state, np.random.set_state),
    (random.getstate, random.setstate),
)


class TooLong(BaseException):
    """Stops a learner's code; no Exception, so that ``except Exception`` in a loop doesn't catch it."""


def is_learners(filename):
    """Tell whether code of this file is the learner's: a notebook's cell, not this package, Python or a library."""
    file = Path(filename)
    return not filename.startswith("<") and not any(file.is_relative_to(folder) for folder in ELSEWHERE)


@contextmanager
def put_back(generators=False):
    """Start with gradients, float32 and one thread; afterwards restore these, global hooks, warnings, generators."""
    kept = [(put, get()) for get, put in (KEPT + GENERATORS if generators else KEPT)]
    hooks = {name: value for name, value in vars(torch_modules).items() if name.startswith("_global_")}
    inside = {name: dict(value) for name, value in hooks.items() if isinstance(value, dict)}
    device = torch.get_default_device()
    with warnings.catch_warnings():
        try:
            torch.set_grad_enabled(True)
            torch.set_default_dtype(torch.float32)
            torch.set_num_threads(1)  # small work: several threads would wait for each other
            yield
        finally:
            for put, value in kept:
                put(value)
            vars(torch_modules).update(hooks)
            for name, value in inside.items():
                hooks[name].clear()
                hooks[name].update(value)
            if torch.get_default_device() != device:  # None, since a CPU that is set goes between torch and each call
                torch.set_default_device(None if device.type == "cpu" else device)


def time_limit(seconds):
    """Return a context that raises TooLong in the block's code after so many seconds.

    In the main thread a signal does it, which ends a sleep too. In other threads, and on Windows, another thread does
    it, between two steps of Python's. A single call into torch is waited for in either.
    """
    main = threading.current_thread() is threading.main_thread()
    return _by_signal(seconds) if main and hasattr(signal, "setitimer") else _by_thread(seconds)


@contextmanager
def _by_signal(seconds):
    tracer, fired, over = sys.gettrace(), 0, False

    def stop(number, frame):
        nonlocal fired
        if over:
            return
        fired += 1
        if fired > 1:  # TooLong was caught: raise it on whatever line comes next, in the except clause too
            sys.settrace(lambda *event: None)
            while frame:
                if is_learners(frame.f_code.co_filename):
                    frame.f_trace = _raise
                frame = frame.f_back
        raise TooLong

    earlier = signal.signal(signal.SIGALRM, stop)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        try:
            yield
        finally:
            over = True
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, earlier or signal.SIG_DFL)
        if fired:
            sys.settrace(tracer)


def _raise(frame, event, value):
    if event == "line":
        raise TooLong
    return _raise


@contextmanager
def _by_thread(seconds):
    learner, over = ctypes.c_ulong(threading.get_ident()), threading.Event()

    def watch():
        wait = seconds
        while not over.wait(wait):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(learner, ctypes.py_object(TooLong))
            wait = AGAIN

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended = False
        while not ended:
            # One that has not arrived yet arrives here. Taken back by NULL, CPython 3.11 would look for it for ever:
            # each step slower, and under sys.settrace, as debuggers set it, the first function would never begin.
            with suppress(TooLong):
                over.set()
                watcher.join()
                for _ in range(1000):
                    pass
                ended = True
