"""How many operations a piece of work asks torch for: each takes its time, however little it computes."""

from torch.utils._python_dispatch import TorchDispatchMode


class _Counter(TorchDispatchMode):
    """Counts every operation that reaches a device, and lets it pass; views, which only rename memory, don't count."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += not func.is_view
        return func(*args, **(kwargs or {}))


def count_calls(work):
    """Return how many operations ``work()`` makes, forward, backward and optimiser alike.

    Args:
        work: A function without arguments; it is called once.

    >>> import torch
    >>> x = torch.ones(3, 4)
    >>> count_calls(lambda: (x @ x.T).relu())  # the product and the relu; the transposed x is a view
    2
    """
    with _Counter() as counter:
        work()
    return counter.calls
