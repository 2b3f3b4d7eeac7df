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
from pathlib import Path

from lora_teach import LoRAModel
from lora_teach.measure.allocator import measure_cuda_memory
from lora_teach.measure.architectures import build
from lora_teach.measure.costs import SETTINGS, random_batch
from lora_teach.measure.predicted_memory import predict_memory, predict_peak, readable
from lora_teach.measure.results import write_result

import torch
import transformers

CASES = [  # model, dtype, batches
    ("SmolLM2-135M", torch.float32, ((4, 256),)),
    ("SmolLM2-135M", torch.bfloat16, ((1, 128), (8, 512), (32, 1024))),
    ("Llama-3.2-1B", torch.bfloat16, ((1, 512), (8, 1024), (4, 4096))),
]


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
