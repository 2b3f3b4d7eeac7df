"""What a step over four bits takes: float32, NF4 by hand, and NF4 by bitsandbytes where that is installed.

    OMP_NUM_THREADS=1 python tests/benchmarks/quantized.py [--rounds 10] [--layer-only] [--out FILE]
    python tests/benchmarks/quantized.py --device cuda [--out FILE]

A layer of 576 to 1,536 (SmolLM2's up projection) for 420 tokens, forward and backward to the input; then a LoRA step of
rank 8 on every linear layer of SmolLM2-135M's sizes with random weights, 6 sequences of 70 tokens. The ways take turns;
medians and, of each round, the ratio to float32. On the CPU the clock is the process's own time, so that a busy machine
doesn't count; on CUDA, where everything is in bfloat16, it is the wall's, after all is done.
"""

import argparse
import importlib.util
import json
import platform
import statistics
import time
from pathlib import Path

from lora_teach import LoRAModel
from lora_teach.bases.quantized import quantize_, quantize_with_bitsandbytes_
from lora_teach.loop.batches import loss_of
from lora_teach.measure.architectures import build
from lora_teach.measure.costs import random_batch

import torch
from torch import nn

WAYS = {"float": lambda base: base, "by hand": quantize_, "bitsandbytes": quantize_with_bitsandbytes_}


def take_turns(steps, rounds, device, warm_up=2):
    """Return ``{way: {"ms": median, "ratio": median of each round's time over the float's}}``."""
    taken = {way: [] for way in steps}
    for turn in range(warm_up + rounds):
        for way, step in steps.items():
            started = time.process_time() if device == "cpu" else time.perf_counter()
            step()
            if device != "cpu":
                torch.cuda.synchronize()
            ended = time.process_time() if device == "cpu" else time.perf_counter()
            if turn >= warm_up:
                taken[way].append(1000 * (ended - started))
    ratios = {way: [a / b for a, b in zip(times, taken["float"], strict=True)] for way, times in taken.items()}
    return {
        way: {"ms": round(statistics.median(times), 2), "ratio": round(statistics.median(ratios[way]), 2)}
        for way, times in taken.items()
    }


def layer_steps(ways, device, dtype):
    """Return ``{way: function}`` of a step through one frozen layer."""
    x = torch.randn(420, 576, device=device, dtype=dtype, requires_grad=True)
    target = torch.randn(420, 1536, device=device, dtype=dtype)

    def step(layer):
        x.grad = None
        layer(x).backward(target)

    layers = {}
    for way in ways:
        torch.manual_seed(0)
        layer = nn.Sequential(nn.Linear(576, 1536, bias=False)).to(device, dtype).requires_grad_(False)
        layers[way] = WAYS[way](layer)
    return {way: lambda layer=layer: step(layer) for way, layer in layers.items()}


def model_steps(ways, device, dtype):
    """Return ``{way: function}`` of a LoRA step, without the optimiser."""
    steps = {}
    for way in ways:
        torch.manual_seed(0)
        base = build("SmolLM2-135M", device).to(dtype)
        batch = {key: value.to(device) for key, value in random_batch(base, 6, 70)[0].items()}
        model = LoRAModel(WAYS[way](base), rank=8).train()

        def step(model=model, batch=batch):
            model.zero_grad()
            loss_of(model, batch, None).backward()

        steps[way] = step
    return steps


def main():
    """Measure, print, and write if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--layer-only", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    ways = [way for way in WAYS if way != "bitsandbytes" or importlib.util.find_spec("bitsandbytes")]
    dtype, threads = (torch.float32 if options.device == "cpu" else torch.bfloat16), torch.get_num_threads()
    cases = {"layer 576 to 1536": layer_steps} | ({} if options.layer_only else {"SmolLM2-135M": model_steps})
    found = {}
    for name, make in cases.items():
        found[name] = take_turns(make(ways, options.device, dtype), options.rounds, options.device)
        for way, one in found[name].items():
            print(f"{name:20} {way:14} {one['ms']:9.2f} ms   ×{one['ratio']:.2f}", flush=True)
    if options.out is not None:
        name = torch.cuda.get_device_name() if options.device == "cuda" else platform.machine()
        text = json.dumps({"device": name, "torch": torch.__version__, "threads": threads, "results": found}, indent=1)
        options.out.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
