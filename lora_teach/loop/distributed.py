"""Several processes train one model: each takes its rows of every batch, and their gradients are put together.

PyTorch does it: DistributedDataParallel where every process holds the base, FSDP2's ``fully_shard`` where each holds a
part of it. What is here divides a batch, and weighs each process's part by its targets, so that the losses and the
adapter are those of one process with the whole batch.
"""

import os
import warnings
from contextlib import contextmanager, nullcontext

from lora_teach.loop.batches import PLAIN, leaves, map_tensors
from lora_teach.loop.fingerprints import Digest, of_tensors
from lora_teach.loop.shards import put_in_shards
from lora_teach.loop.weights import weights_of
from lora_teach.overlay.inspection import overlays
from lora_teach.overlay.names import REPLICATED
from lora_teach.utils import processes

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class Alone:
    """One process: it has all rows, and its loss is the loss. A context manager around the run."""

    rank, size, kind = 0, 1, None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def learner(self, model):
        """Return what is called in the place of ``model``."""
        return model

    def note(self, batch):
        """Look at a batch, the same in every process; returns it."""
        return batch

    def shares(self, parts, loss_fn, model):
        """Return ``[(this process's rows, their weight in the whole)]``, one for each of the batches ``parts``."""
        return list(zip(parts, weights_of(parts, loss_fn, model), strict=True))

    def total(self, value):
        """Return the sum of all processes' values."""
        return value

    @contextmanager
    def computing(self, last):
        """Around the forward and backward of one part: gradients are put together after the ``last``."""
        yield


class Team(Alone):
    """This process among several.

    Args:
        model: The model, on this process's device.
        shard: False; True for the base in shards on its device; or the device that the shards are moved to.
        optimizer: The user's own, or None.
    """

    def __init__(self, model, shard, optimizer):
        self.rank, self.size = processes.rank(), processes.size()
        self.kind = f"{self.size}{', sharded' if shard else ''}"
        self._digest, self._parallel = Digest(), None
        _check_divisible(model)
        _check_device(model, shard)
        _check_same_start(model)
        if shard:
            put_in_shards(model, shard, optimizer)
            model.reshard()
        self._sharded = model if shard else None

    def __exit__(self, *exception):
        if self._sharded is not None:  # a forward alone leaves whole copies in the shards' place, soon out of date
            self._sharded.reshard()

    def learner(self, model):
        """Return ``model`` under DistributedDataParallel, or itself where it is in shards."""
        if self._sharded is not None:
            return model
        if self._parallel is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # broadcast_buffers has another name in newer releases
                self._parallel = nn.parallel.DistributedDataParallel(
                    _Learner(model), init_sync=False, broadcast_buffers=False, find_unused_parameters=True
                )
        return self._parallel

    def note(self, batch):
        """Note a batch, so that `total` sees whether every process was given the same one."""
        self._digest.add(batch)
        return batch

    def shares(self, parts, loss_fn, model):
        """Divide each batch by rows; a process without any computes the first row, which weighs nothing."""
        pieces = [divided(part, self.size) for part in parts]
        weights = weights_of([piece for row in pieces for piece in row], loss_fn, model)
        own = slice(self.rank, None, self.size)
        first = [row[0] for row in pieces]
        return [
            (first[number] if row[self.rank] is None else row[self.rank], weight)
            for number, (row, weight) in enumerate(zip(pieces, weights[own], strict=True))
        ]

    def total(self, value):
        """Return the sum of all processes' values, after a look at whether they were given the same batches."""
        rows = processes.all_numbers([value, int(str(self._digest)[:12], 16)])
        different = (rows[:, 1] != rows[0, 1]).nonzero().flatten().tolist()
        if different:
            raise RuntimeError(
                f"process {different[0]} was given another batch than process 0, and each takes its rows of the same "
                "one. Give all of them the same data in the same order, without a DistributedSampler."
            )
        return rows[:, 0].sum().item()

    @contextmanager
    def computing(self, last):
        """Around the forward and backward of one part: gradients are put together after the ``last``."""
        with nullcontext() if self._parallel is None or last else self._parallel.no_sync():
            yield


class _Learner(nn.Module):
    """The model, and a parameter that is never used: DDP, told to look for such ones, complains if it finds none."""

    def __init__(self, model):
        super().__init__()
        self.model, like = model, next(p for p in model.parameters() if p.requires_grad)
        self.unused = nn.Parameter(like.new_zeros(1))

    def forward(self, *args, **kwargs):
        return self.model(*args, **kwargs)


def join(model, shard=False, optimizer=None):
    """Return the `Team` of this process, if torchrun or a process group of yours made it one of several, or `Alone`.

    A model that is under DistributedDataParallel already is left to those who put it there.

    Raises:
        ValueError: ``shard`` in a process that torchrun has not started, or what can't be trained so.
    """
    if isinstance(model, REPLICATED) or not processes.join(even_one=bool(shard)):
        if shard:
            raise ValueError(
                f"shard={shard!r} divides the base among the processes that torchrun starts, and this is a single one. "
                "Use torchrun --nproc-per-node 2 …, or shard=False."
            )
        return Alone()
    return Team(model, shard, optimizer)


def divided(batch, count):
    """Return ``count`` batches that have the rows of ``batch``, in order; None where there are too few rows.

    Raises:
        ValueError: Tensors with different numbers of rows, or something that has none.
    """
    rows = set()
    for place, value in leaves(batch):
        if isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_nested:
            rows |= {len(value)} if value.dim() else set()
        elif not isinstance(value, PLAIN):
            raise ValueError(
                f"a batch holds a {type(value).__name__} at {'.'.join(map(str, place)) or 'its top'}, and what each of "
                f"{count} processes takes of it can't be seen. Use plain tensors with a row for each example."
            )
    if len(rows) != 1:
        raise ValueError(
            f"a batch's tensors have {', '.join(map(str, sorted(rows))) or 'no'} rows, so it can't be divided among "
            f"{count} processes. Give each tensor one row for each example."
        )
    many = rows.pop()
    ends = [many // count * number + min(many % count, number) for number in range(count + 1)]

    def cut(start, end):
        return map_tensors(batch, lambda tensor: tensor[start:end] if tensor.dim() else tensor) if start < end else None

    return [cut(start, end) for start, end in zip(ends, ends[1:], strict=False)]


def _check_divisible(model):
    """Raise ValueError for a batch normalisation that trains: its statistics would be those of a process's rows."""
    held = {id(module) for overlay in overlays(model) for module in overlay.base_model.modules()}
    for name, module in model.named_modules():
        synced = isinstance(module, nn.SyncBatchNorm)
        if isinstance(module, _BatchNorm) and not synced and id(module) not in held:
            raise ValueError(
                f"{name} is a {type(module).__name__} that trains, and each process would normalise by its own rows. "
                "On GPUs use nn.SyncBatchNorm.convert_sync_batchnorm(model); or freeze it."
            )


def _check_device(model, shard):
    """Raise ValueError where two processes of one machine would use the same GPU, and wait for each other for ever."""
    device = next(model.parameters()).device
    mine = int(os.environ.get("LOCAL_RANK", device.index or 0))
    if device.type == "cuda" and torch.cuda.device_count() > 1 and device.index != mine:
        raise ValueError(
            f"process {processes.rank()} has its model on {device}, and its own GPU is cuda:{mine}. Use "
            "model.to(f\"cuda:{os.environ['LOCAL_RANK']}\")."
        )
    if shard and torch.device(shard if shard is not True else device).type == "mps":
        raise ValueError("shard works on a CPU or on CUDA devices, not on mps.")


def _check_same_start(model):
    """Give every process the trainable numbers of process 0; RuntimeError if their frozen ones differ."""
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    trained = [p for p in model.parameters() if p.requires_grad]
    if any(hasattr(tensor, "full_tensor") for tensor in named.values()):
        return  # in shards already
    frozen = {name: tensor for name, tensor in named.items() if not tensor.requires_grad}
    digests = processes.gathered([of_tensors(frozen), [list(p.shape) for p in trained]])
    different = [number for number, one in enumerate(digests) if one != digests[0]] if processes.size() > 1 else []
    if different:
        raise RuntimeError(
            f"process {different[0]} has another base or other adapters than process 0. Load the same in each."
        )
    if processes.size() > 1:
        values = processes.on_writer(lambda: [p.detach().cpu() for p in trained])
        with torch.no_grad():
            for parameter, value in zip(trained, values, strict=True):
                parameter.copy_(value)
