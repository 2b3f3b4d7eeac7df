"""Digests: the same for the same content, in this process or another, and different if one bit differs."""

import hashlib
from collections.abc import Mapping

from lora_teach.utils.processes import whole

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # bytes of an element -> whole numbers
SAMPLES = 64


class Digest:
    """A running digest of whatever is added to it: tensors and plain values by content, other things by their kind."""

    def __init__(self):
        self._sum = hashlib.sha256()

    def __str__(self):
        return self._sum.hexdigest()

    def add(self, value):
        """Add a value, and what it holds; returns self."""
        self._add(value, outermost=True)
        return self

    def _add(self, value, outermost=False):
        if isinstance(value, torch.Tensor):
            self._note("tensor", value.dtype, tuple(value.shape))
            self._sum.update(_bytes(value))
        elif isinstance(value, np.ndarray) and value.dtype != object:
            self._note("array", value.dtype, value.shape)
            self._sum.update(np.ascontiguousarray(value).tobytes())
        elif value is None or isinstance(value, bool | int | float | complex | str | bytes):
            self._note(type(value).__name__, value)
        elif isinstance(value, Mapping):
            self._note("mapping", len(value))
            for key, one in value.items():
                self._add(key)
                self._add(one)
        elif isinstance(value, list | tuple):
            self._note("sequence", len(value))
            for one in value:
                self._add(one)
        elif isinstance(value, DataLoader):
            self._note("loader", value.batch_size, value.drop_last, type(value.sampler).__name__)
            self._add(value.dataset, outermost=True)
        elif isinstance(getattr(value, "_fingerprint", None), str):  # a data set of Hugging Face's
            self._note(value._fingerprint)
        elif hasattr(value, "__dict__") and (outermost or isinstance(value, Dataset)):
            self._note(type(value).__qualname__)
            self._add(vars(value))
        else:
            self._note(getattr(value, "__qualname__", type(value).__qualname__))

    def _note(self, *words):
        self._sum.update(repr(words).encode("utf-8", "surrogatepass") + b"\0")


def of_tensors(named):
    """Return a digest of many tensors, ``{name: tensor}``: of each one the sum of its bits and a sample of them.

    It takes one pass over the memory, on the tensor's own device; a hash of every byte would take many times as long.
    """
    digest = Digest()
    for name, tensor in named.items():
        digest.add([name, str(tensor.dtype), list(tensor.shape), _summary(whole(tensor.detach()))])
    return str(digest)


def _summary(tensor):
    if tensor.is_meta or tensor.layout is not torch.strided or not tensor.numel():
        return []
    tensor = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    bits = tensor.contiguous().flatten().view(WHOLE[tensor.dtype.itemsize])
    return [bits.sum(dtype=torch.int64).item(), bits[:: max(1, len(bits) // SAMPLES)].tolist()]


def _bytes(tensor):
    tensor = tensor.detach()
    if tensor.is_nested:
        return b"".join(map(_bytes, tensor.unbind()))
    tensor = (tensor if tensor.layout is torch.strided else tensor.to_dense()).resolve_conj().resolve_neg().cpu()
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
