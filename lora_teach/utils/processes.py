"""Several processes that train one model together: who writes, and what only all of them hold.

In one process each of these does the obvious thing, and needs no torch.distributed.
"""

import atexit
import os
import pickle
from contextlib import contextmanager

import torch
from torch import distributed

_team = {"joined": False, "apart": False, "group": None}


def launched():
    """Tell whether torchrun started this process among several."""
    started = distributed.is_available() and distributed.is_torchelastic_launched()
    return started and int(os.environ["WORLD_SIZE"]) > 1 and not _team["apart"]


def place():
    """Return ``(number of this process, how many there are)`` as torchrun started them, together or apart."""
    started = distributed.is_available() and distributed.is_torchelastic_launched()
    return (int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])) if started else (0, 1)


def join(even_one=False):
    """Join the processes that torchrun started, or whose process group is there already; return whether there are any.

    Args:
        even_one: A single process that torchrun started counts as well.
    """
    if _team["apart"] or not distributed.is_available():
        return False
    there = distributed.is_initialized()
    if not there and (launched() or (even_one and distributed.is_torchelastic_launched())):
        gpus = torch.cuda.device_count()
        if gpus > 1:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo")
        atexit.register(_leave)
        there = True
    _team["joined"] = there and (even_one or distributed.get_world_size() > 1)
    return _team["joined"]


@contextmanager
def apart():
    """Within the block this process trains by itself, whatever the others do."""
    found = dict(_team)
    _team.update(joined=False, apart=True)
    try:
        yield
    finally:
        _team.update(joined=found["joined"], apart=found["apart"])


def rank():
    """Return the number of this process among those that train together, from 0."""
    return distributed.get_rank() if _team["joined"] else 0


def size():
    """Return how many processes train together."""
    return distributed.get_world_size() if _team["joined"] else 1


def is_writer():
    """Tell whether this process writes files and progress: process 0 does."""
    return rank() == 0


def on_writer(function):
    """Let process 0 call ``function``; return its result, or raise its error, in all of them."""
    if size() == 1:
        return function()
    told = [None, None]
    if is_writer():
        try:
            told[0] = function()
        except Exception as error:
            told[1] = _as_it_travels(error)
    distributed.broadcast_object_list(told, src=0, group=_group())
    if told[1] is not None:
        told[1].of_process_0 = not is_writer()  # who tells the user needs to do so once
        raise told[1]
    return told[0]


def agreed(value):
    """Return process 0's ``value``, in all of them."""
    return value if size() == 1 else gathered(value)[0]


def gathered(value):
    """Return the values of all processes as a list, or in one process the value itself."""
    if size() == 1:
        return value
    values = [None] * size()
    distributed.all_gather_object(values, value, group=_group())
    return values


def own(values):
    """Return this process's one of the values that `gathered` returned."""
    return values if size() == 1 else values[rank()]


def all_numbers(numbers):
    """Return a float64 tensor ``(processes, len(numbers))`` of every process's numbers."""
    mine = torch.tensor(numbers, dtype=torch.float64)
    rows = [torch.empty_like(mine) for _ in range(size())]
    distributed.all_gather(rows, mine, group=_group())
    return torch.stack(rows)


def whole(tensor):
    """Return the whole of a tensor that is in shards, which all processes must ask for; others as they are."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def local(tensor):
    """Return this process's shard of a tensor, or the tensor itself where it is not in shards."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def in_shards_as(tensor, like):
    """Return ``tensor``, whole, in the shards of ``like``, if that is in shards and of its shape."""
    if not hasattr(like, "full_tensor") or tensor.shape != like.shape or hasattr(tensor, "full_tensor"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def _group():
    """Return the group for small messages, on the CPU, whatever moves the gradients."""
    if _team["group"] is None or _team["group"][0] is not distributed.group.WORLD:
        _team["group"] = distributed.group.WORLD, distributed.new_group(backend="gloo")
    return _team["group"][1]


def _as_it_travels(error):
    """Return the error if it can be sent, else one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


def _leave():
    if distributed.is_initialized():
        distributed.destroy_process_group()
