"""What a training step holds on a CUDA device, asked of PyTorch's allocator."""

from contextlib import nullcontext
from dataclasses import dataclass

from lora_teach.loop.batches import loss_of
from lora_teach.measure.measured_memory import as_found, checkpointed, make_optimizer, storage, trainable
from lora_teach.measure.predicted_memory import Memory

import torch


@dataclass(frozen=True)
class Allocated:
    """What the allocator says of a step, in bytes.

    Attributes:
        memory: A Memory; its activations are what the forward left allocated, with the loss alone kept alive. With
            checkpointing that is before anything is computed again.
        peak: The most that was allocated at once, gradients lying there from before, as in the second of several
            batches whose gradients are summed. Working space of kernels and short-lived tensors are in it.
        peak_fresh: The same without gradients from before.
        reserved: What the allocator took from the device to serve that, fragments included.
    """

    memory: Memory
    peak: int
    peak_fresh: int
    reserved: int


def measure_cuda_memory(model, batch, loss_fn=None, optimizer="adamw", *, checkpointing=False):
    """Run training steps on a CUDA device and return what the allocator held, `Allocated`; no weight changes.

    Arguments as `measure_memory`, on the device; the model is alone there if ``reserved`` is to mean something. Every
    size is rounded up to 512 bytes by the allocator, which counts where tensors are small.
    """
    training = trainable(model)
    device = training[0].device
    if device.type != "cuda":
        raise ValueError(f"the model is on {device}, and this asks CUDA's allocator. Use measure_memory(model, batch).")
    adapters = {id(parameter) for parameter in getattr(model, "adapters", torch.nn.Module()).parameters()}
    base = [parameter for parameter in model.parameters() if id(parameter) not in adapters]
    with as_found(model), checkpointed(model) if checkpointing else nullcontext():
        stepped = make_optimizer(optimizer, training)
        loss_of(model, batch, loss_fn).backward()  # the first step also makes handles and workspaces that stay
        stepped.step()
        gradients = storage(parameter.grad for parameter in training if parameter.grad is not None)
        _, peak = _peak(model, batch, loss_fn, device)
        reserved = torch.cuda.max_memory_reserved(device)
        stepped.zero_grad(set_to_none=True)
        activations, peak_fresh = _peak(model, batch, loss_fn, device)
        memory = Memory(
            weights=storage([*base, *model.buffers()]),
            adapters=storage(parameter for parameter in model.parameters() if id(parameter) in adapters),
            gradients=gradients,
            optimiser=storage(value for state in stepped.state.values() for value in state.values()),
            activations=activations,
        )
    return Allocated(memory, peak, peak_fresh, reserved)


def _peak(model, batch, loss_fn, device):
    """Return what a forward left allocated, and the most that it and its backward held, weights and all."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    loss = loss_of(model, batch, loss_fn)
    kept = torch.cuda.memory_allocated(device) - before
    loss.backward()
    torch.cuda.synchronize(device)
    return kept, torch.cuda.max_memory_allocated(device)
