"""Predicted memory beside what CUDA's allocator says, in one table; needs a CUDA device and no network.

    python tests/benchmarks/memory_cuda.py [--out FILE] [--quick]

Random models of SmolLM2-135M's and Llama-3.2-1B's sizes in bfloat16, the first in float32 too, at several batches.
Columns: activations, predicted and as the forward left them allocated; the most that a step holds with gradients from
an earlier batch, predicted and the allocator's peak; what the allocator took from the device. With checkpointing,
predicted activations are those of the worst moment, measured ones those at the forward's end.

The prediction is for a fused attention. In float32, CUDA may have none for heads that share keys: then the (seq, seq)
matrices are kept, and the first rows are off by them.
"""

import argparse
import gc
import time
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from lora_teach import LoRAModel
from lora_teach.loop.batches import loss_of
from lora_teach.measure.architectures import build
from lora_teach.measure.costs import SETTINGS, random_batch
from lora_teach.measure.measured_memory import as_found, checkpointed, make_optimizer, storage, trainable
from lora_teach.measure.predicted_memory import Memory, predict_memory, predict_peak, readable
from lora_teach.measure.results import write_result

import torch
import transformers

CASES = [  # model, dtype, batches
    ("SmolLM2-135M", torch.float32, ((4, 256),)),
    ("SmolLM2-135M", torch.bfloat16, ((1, 128), (8, 512), (32, 1024))),
    ("Llama-3.2-1B", torch.bfloat16, ((1, 512), (8, 1024), (4, 4096))),
]


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


def row(name, dtype, batch_size, seq_len, setting):
    """Run one case; return what was predicted and what was measured, in bytes."""
    options = dict(SETTINGS[setting])
    torch.manual_seed(0)
    base = build(name, "cuda").to(dtype)
    predicted = predict_memory(base, batch_size, seq_len, **options)
    predicted_peak = predict_peak(base, batch_size, seq_len, **options)
    batch, loss_fn = random_batch(base, batch_size, seq_len)
    checkpointing = options.pop("checkpointing", False)
    model = LoRAModel(base, **options) if options else base
    found = measure_cuda_memory(model, batch, loss_fn, checkpointing=checkpointing)
    return {
        "model": name, "dtype": str(dtype).removeprefix("torch."), "batch": batch_size, "seq": seq_len,
        "setting": setting, "predicted": vars(predicted), "predicted_peak": predicted_peak,
        "measured": vars(found.memory), "peak": found.peak, "reserved": found.reserved,
    }  # fmt: skip


def main():
    """Print the table; write it as JSON where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    parser.add_argument("--quick", action="store_true", help="the smallest batch of each model only")
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no CUDA device here")
    warnings.simplefilter("ignore")
    device = torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {device}")
    print(
        f"{'model':13} {'dtype':9} {'batch':>10}  {'setting':28} {'act. pred.':>10} {'measured':>9} {'ratio':>6} "
        f"{'peak pred.':>10} {'peak':>9} {'ratio':>6} {'reserved':>9}"
    )
    started, rows = time.perf_counter(), []
    for name, dtype, batches in CASES:
        for batch_size, seq_len in batches[:1] if chosen.quick else batches:
            for setting in SETTINGS:
                try:
                    one = row(name, dtype, batch_size, seq_len, setting)
                except torch.cuda.OutOfMemoryError:
                    print(f"{name:13} {batch_size:>4} × {seq_len:<5} {setting}: out of memory")
                    continue
                finally:
                    gc.collect()
                    torch.cuda.empty_cache()
                rows.append(one)
                acts, kept = one["predicted"]["activations"], one["measured"]["activations"]
                wrong = [
                    field
                    for field in ("weights", "adapters", "gradients", "optimiser")
                    if one["predicted"][field] != one["measured"][field]
                ]
                print(
                    f"{name:13} {one['dtype']:9} {batch_size:>4} × {seq_len:<4} {setting:28} {readable(acts):>10} "
                    f"{readable(kept):>9} {acts / kept:>6.3f} {readable(one['predicted_peak']):>10} "
                    f"{readable(one['peak']):>9} {one['predicted_peak'] / one['peak']:>6.3f} "
                    f"{readable(one['reserved']):>9}" + (f"  not exact: {', '.join(wrong)}" if wrong else ""),
                    flush=True,
                )
    if chosen.out:
        settings = {"device": device, "models": sorted({name for name, *_ in CASES})}
        write_result(chosen.out, "memory_cuda", settings, rows, time.perf_counter() - started, unit="bytes", flat=True)


if __name__ == "__main__":
    main()
