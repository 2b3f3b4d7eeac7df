"""What a training step holds, predicted from shapes and measured on a real step, and how much it computes.

    OMP_NUM_THREADS=1 python data/make_memory.py

Two minutes on one core, and 4 GB of memory. Measured are the bases and batches of `lora_teach.measure.costs`, and
SmolLM2 with longer sequences; counted are the FLOPs of the smaller ones. It stops if a prediction is off by 2 %.
"""

import time
from dataclasses import astuple, fields
from pathlib import Path

from lora_teach.measure.costs import SETTINGS, SIZES, compare_flops, compare_memory, new_base
from lora_teach.measure.predicted_memory import Memory
from lora_teach.measure.results import write_result
from lora_teach.utils.threads import one_thread

LONGER = {"SmolLM2-135M": ((1, 128), (4, 128))}


def main():
    """Run every case and write ``data/memory.json``."""
    started, results = time.perf_counter(), {"memory": {}, "flops": {}}
    for name, sizes in SIZES.items():
        base = new_base(name)
        for table in results.values():
            table[name] = {}
        for batch_size, seq_len in sizes + LONGER.get(name, ()):
            rows = results["memory"][name][f"{batch_size} × {seq_len}"] = {}
            for setting in SETTINGS:
                predicted, measured = compare_memory(base, batch_size, seq_len, setting)
                assert abs(predicted.activations / measured.activations - 1) < 0.02, (name, setting)
                assert abs(predicted.total / measured.total - 1) < 0.02, (name, setting)
                rows[setting] = {"predicted": astuple(predicted), "measured": astuple(measured)}
                print(
                    f"{name}, {batch_size} × {seq_len}, {setting}: {predicted.total / measured.total:.4f}", flush=True
                )
        for batch_size, seq_len in sizes:
            rows = results["flops"][name][f"{batch_size} × {seq_len}"] = {}
            for setting in SETTINGS:
                predicted, counted = compare_flops(base, batch_size, seq_len, setting)
                rows[setting] = {"predicted": (predicted.forward, predicted.backward), "counted": counted}
    settings = {
        "memory": [field.name for field in fields(Memory)],
        "flops": ["forward", "backward"],
        "dtype": "float32",
        "optimizer": "adamw",
    }
    target, seconds = Path(__file__).parent / "memory.json", time.perf_counter() - started
    write_result(target, "memory", settings, results, seconds, unit="bytes; FLOPs", flat=True)


if __name__ == "__main__":
    with one_thread():
        main()
