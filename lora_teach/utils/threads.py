"""One thread for small work."""

from contextlib import contextmanager

import torch


@contextmanager
def one_thread():
    """Within the block torch computes in one thread, afterwards in as many as before.

    For matrices as small as NameGPT's and DigitNet's, two threads are slower than one, and on a busy machine, where
    they wait for each other, up to a hundred times.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
