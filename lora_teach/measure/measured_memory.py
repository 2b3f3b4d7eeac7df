"""What a training step holds in memory, measured on a real step."""

from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields

from lora_teach.loop.batches import loss_of

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

OPTIMIZERS = {
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.0),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.0, momentum=0.9),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.0),
}  # a learning rate of zero: the state is made, and no weight moves
UNITS = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "kB": 10**3}


@dataclass(frozen=True)
class Memory:
    """What a training step holds, in bytes.

    Attributes:
        weights: Of the base model: parameters and buffers.
        adapters: A and B of every adapted layer, and what else its variant holds.
        gradients: Of everything that trains.
        optimiser: What it remembers of everything that trains.
        activations: What the forward keeps for the backward, when it is most.
    """

    weights: int
    adapters: int
    gradients: int
    optimiser: int
    activations: int

    @property
    def total(self):
        """All of it at once, in bytes.

        Gradients and activations meet where gradients stay from one forward to the next, as when they are summed over
        several batches. Where they are freed after each step the peak is lower, by the smaller of the two at most.
        """
        return sum(getattr(self, field.name) for field in fields(self))

    def __str__(self):
        rows = {field.name: getattr(self, field.name) for field in fields(self)} | {"total": self.total}
        return "\n".join(
            f"{name:<12}{readable(size):>10}{size / max(1, self.total):>7.0%}" for name, size in rows.items()
        )


def readable(size):
    """Return a number of bytes as a person reads it.

    >>> readable(1_530_000_000), readable(21_504), readable(7)
    ('1.53 GB', '21.5 kB', '7 B')
    """
    for unit, bytes_in in UNITS.items():
        if size >= bytes_in:
            value = size / bytes_in
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    return f"{size} B"


class Saved:
    """The tensors that autograd keeps, each storage once, while `watching`; ``now`` and ``peak`` in bytes.

    Args:
        besides: Tensors that are held anyway: parameters and buffers.
    """

    def __init__(self, besides=()):
        self.besides = {storage_id(tensor) for tensor in besides}
        self.holders, self.now, self.peak = Counter(), 0, 0

    def watching(self):
        """Within the block, what autograd saves is counted; give it the forward and the backward."""
        return saved_tensors_hooks(lambda tensor: _Handle(tensor, self), lambda handle: handle.tensor)

    def take(self, tensor):
        """Count a tensor that autograd begins to hold."""
        place = storage_id(tensor)
        if place not in self.besides:
            self.holders[place] += 1
            if self.holders[place] == 1:
                self.now += tensor.untyped_storage().nbytes()
                self.peak = max(self.peak, self.now)

    def drop(self, tensor):
        """Count one that it lets go of."""
        place = storage_id(tensor)
        if place not in self.besides:
            self.holders[place] -= 1
            if self.holders[place] == 0:
                self.now -= tensor.untyped_storage().nbytes()


class _Handle:
    """Stands in autograd's graph for a saved tensor, and tells when the graph lets go of it."""

    def __init__(self, tensor, saved):
        self.tensor, self.saved = tensor.detach(), saved
        saved.take(self.tensor)

    def __del__(self):
        self.saved.drop(self.tensor)


def measure_memory(model, batch, loss_fn=None, optimizer="adamw", *, checkpointing=False):
    """Run a real training step and say what it held; the model is left as it was found, to the last bit.

    Activations are the tensors that autograd saves (``torch.autograd.graph.saved_tensors_hooks``), each storage once
    and none that a parameter or buffer holds, at the moment when they are most. Weights, gradients and optimiser state
    are what lies there after the step. For a model on a GPU ``tests/benchmarks/memory_cuda.py`` asks the allocator.

    Args:
        model: A model or LoRAModel on the CPU; what requires a gradient trains.
        batch: ``(inputs, targets)``, or a mapping that is passed as keywords.
        loss_fn: ``loss_fn(output, targets)``; None where the output has ``.loss``.
        optimizer: "adamw", "momentum", "sgd", or a function of the parameters that makes one with a learning rate of 0.
        checkpointing: Run the step with every block under ``torch.utils.checkpoint``.

    Raises:
        ValueError: Nothing trains; no list of blocks is found; an unknown optimiser.
    """
    training = trainable(model)
    with as_found(model), checkpointed(model, reentrant=True) if checkpointing else nullcontext():
        saved = Saved([*model.parameters(), *model.buffers()])
        with saved.watching():
            loss_of(model, batch, loss_fn).backward()
        stepped = make_optimizer(optimizer, training)
        stepped.step()
        overlay = getattr(model, "adapters", nn.Module())
        adapters = [*overlay.parameters(), *overlay.buffers()]
        inside = {id(tensor) for tensor in adapters}
        return Memory(
            weights=storage(one for one in (*model.parameters(), *model.buffers()) if id(one) not in inside),
            adapters=storage(adapters),
            gradients=storage(p.grad for p in training if p.grad is not None),
            optimiser=storage(value for state in stepped.state.values() for value in state.values()),
            activations=saved.peak,
        )


def trainable(model):
    """List of the parameters that require a gradient; a ValueError if there are none."""
    found = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not found:
        raise ValueError("no parameter requires a gradient, so there is no training step to measure.")
    return found


def make_optimizer(optimizer, parameters):
    """Return the named optimiser over ``parameters``, with a learning rate of zero; a function makes its own."""
    if callable(optimizer):
        return optimizer(parameters)
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer={optimizer!r} is not known. Use one of {', '.join(OPTIMIZERS)}, or a function.")
    return OPTIMIZERS[optimizer](parameters)


def storage(tensors):
    """Bytes of some tensors' storages, each once."""
    return sum({storage_id(t): t.untyped_storage().nbytes() for t in tensors if isinstance(t, torch.Tensor)}.values())


@contextmanager
def as_found(model):
    """Afterwards the parameters have the gradients that they had, and the random state is what it was."""
    found = [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, _ in found:
        parameter.grad = None
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for parameter, gradient in found:
            parameter.grad = gradient


def blocks_of(model):
    """Return the longest ``nn.ModuleList`` of a model, its blocks; an empty list if it has none."""
    return max((module for module in model.modules() if isinstance(module, nn.ModuleList)), key=len, default=[])


@contextmanager
def checkpointed(model, reentrant=False):
    """Within the block every block of ``model`` keeps its input only, and is computed again in the backward.

    The blocks are the longest ``nn.ModuleList``. Both forms of ``torch.utils.checkpoint`` keep the same tensors; the
    hooks of `Saved` see them in the ``reentrant`` one only. That one gives an input a gradient that needs none, where
    anything in the block trains.
    """
    blocks = blocks_of(model)
    if not blocks:
        raise ValueError(f"{type(model).__name__} has no nn.ModuleList of blocks to checkpoint.")
    found = [vars(block).get("forward") for block in blocks]
    config = getattr(model, "config", None)
    use_cache = getattr(config, "use_cache", None)
    if use_cache:
        config.use_cache = False  # a cache would be filled a second time
    for block in blocks:
        block.forward = _recomputed(block.forward, reentrant)
    try:
        yield
    finally:
        if use_cache:
            config.use_cache = use_cache
        for block, own in zip(blocks, found, strict=True):
            del block.forward  # the class's own shows again
            if own is not None:
                block.forward = own


def _recomputed(forward, reentrant):
    def once_more(x, *args, **kwargs):
        if reentrant and not x.requires_grad:
            with saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):  # not counted
                output = forward(x, *args, **kwargs)
            if not any(one.requires_grad for one in (output if isinstance(output, tuple) else (output,))):
                return output  # nothing here or before trains, so nothing is kept
            x = x.detach().requires_grad_()
        return checkpoint(lambda *inputs: forward(*inputs, **kwargs), x, *args, use_reentrant=reentrant)

    return once_more


def storage_id(tensor):
    """What tells storages that live from each other, as an address would, which a fake tensor has not."""
    return tensor.untyped_storage()._cdata
