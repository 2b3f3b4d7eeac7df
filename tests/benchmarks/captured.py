"""A training step on a GPU, as it is written and captured as one CUDA graph: full fine-tuning, PEFT and ours.

    python tests/benchmarks/captured.py [--steps 30] [--only NAME] [--out FILE]

Random weights in bfloat16, SmolLM2-135M's sizes at 4 × 128 and 16 × 512 and Llama-3.2-1B's at 8 × 512; rank 8 on all
linear layers, AdamW in one kernel, one batch. Nothing is fetched. Each way has the GPU to itself: a base of its own,
built, trained and dropped. Full fine-tuning and PEFT are plain loops that look at the loss after each step; ours is
`training_steps`, with all that it checks; "compiled" means that `torch.compile` has joined the base's small kernels,
and ours beside them. Median of a step's wall-clock milliseconds with quartiles; peak GiB that the allocator gave out,
and GiB that it took from the device, graphs included; the seconds of the first step, in which it compiles. The floor
is the step's FLOPs at the rate at which this GPU multiplies two large bfloat16 matrices.
"""

import argparse
import gc
import json
import platform
import statistics
import time
import warnings
from pathlib import Path

from lora_teach import LoRAModel, training_steps
from lora_teach.measure.architectures import build
from lora_teach.measure.costs import random_batch
from lora_teach.measure.flops import predict_flops

import torch

CASES = [("SmolLM2-135M", 4, 128), ("SmolLM2-135M", 16, 512), ("Llama-3.2-1B", 8, 512)]
WAYS = ["full", "full captured", "PEFT", "PEFT captured", "ours", "ours captured", "ours compiled, captured"]
RANK, RATE, WARM_UP, GIB = 8, 1e-5, 5, 2**30


def adapted(base, way):
    """Return the model that trains: the base itself, PEFT's or ours."""
    if way.startswith("full"):
        return base.train()
    if way.startswith("ours"):
        model = LoRAModel(base, rank=RANK, alpha=2 * RANK)
        if "compiled" in way:
            base.compile()
        return model
    import peft

    return peft.get_peft_model(base, peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear")).train()


def plain(model, batch, steps):
    """Train as it is written in a textbook; yield the loss and the seconds of each step."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0, fused=True)
    for _ in range(steps):
        torch.cuda.synchronize()
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        value = loss.item()
        torch.cuda.synchronize()
        yield value, time.perf_counter() - started


def plain_captured(model, batch, steps):
    """The same as one graph."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0, fused=True, capturable=True)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            optimizer.zero_grad(set_to_none=True)
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            yield loss.item(), 0.0
    torch.cuda.current_stream().wait_stream(stream)
    del loss
    optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        loss = loss.detach()
    for _ in range(steps - 2):
        torch.cuda.synchronize()
        started = time.perf_counter()
        graph.replay()
        value = loss.item()
        torch.cuda.synchronize()
        yield value, time.perf_counter() - started


def ours(model, batch, steps, capture):
    """`training_steps`."""
    options = {"lr": RATE, "steps": steps, "capture": capture}
    for step in training_steps(model, [batch], None, **options):
        yield step.loss, step.seconds


def measure(name, batch_size, seq_len, way, steps):
    """Return one row of the table."""
    torch.manual_seed(0)
    base = build(name, "cuda").to(torch.bfloat16)
    base.config.use_cache = False
    batch, _ = random_batch(base, batch_size, seq_len)
    model, total = adapted(base, way), steps + WARM_UP
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    captured = way.endswith("captured")
    if way.startswith("ours"):
        run = ours(model, batch, total, captured)
    else:
        run = plain_captured(model, batch, total) if captured else plain(model, batch, total)
    started = time.perf_counter()
    found = [next(run)]
    first = time.perf_counter() - started
    found += run
    low, middle, high = statistics.quantiles(
        [1000 * seconds for _, seconds in found[WARM_UP:]], n=4, method="inclusive"
    )
    row = {
        "model": name, "batch": batch_size, "seq": seq_len, "way": way, "milliseconds": [low, middle, high],
        "peak GiB": torch.cuda.max_memory_allocated() / GIB, "reserved GiB": torch.cuda.max_memory_reserved() / GIB,
        "first step seconds": first, "losses": [loss for loss, _ in found],
    }  # fmt: skip
    return row


def matmul_rate(size=8192, rounds=20):
    """Return the FLOPs a second at which this GPU multiplies two large bfloat16 matrices."""
    left, right = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        left @ right
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(rounds):
        left @ right
    torch.cuda.synchronize()
    return rounds * 2 * size**3 / (time.perf_counter() - started)


def main():
    """Print the table, and write it where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30, help="that count, after a few that don't")
    parser.add_argument("--only", help="the part of 'MODEL BATCH×SEQ' that a case must have")
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no CUDA device here")
    warnings.simplefilter("ignore")
    warnings.filterwarnings("always", message="capture=True")
    started, rate = time.perf_counter(), matmul_rate()
    device = torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, {device}, {rate / 1e12:.0f} TFLOP/s in a large bfloat16 product", flush=True)
    print(f"{'case':22} {'way':23} {'ms':>8} {'quartiles':>17} {'over PEFT':>9} {'floor':>6} {'share':>6} {'peak':>6} "
          f"{'reserved':>8} GiB  {'first':>5} s {'loss':>7}")  # fmt: skip
    rows = []
    for name, batch_size, seq_len in CASES:
        case = f"{name} {batch_size}×{seq_len}"
        if options.only and options.only not in case:
            continue
        flops = {adapted: predict_flops(build(name), batch_size, seq_len, rank=RANK if adapted else None).total
                 for adapted in (False, True)}  # fmt: skip
        made = {}
        for way in WAYS:
            try:
                made[way] = measure(name, batch_size, seq_len, way, options.steps)
            except Exception as error:  # of one way, such as too little memory: the others are measured all the same
                print(f"{case:22} {way:23} failed: {type(error).__name__}: {str(error)[:200]}", flush=True)
                continue
            finally:
                gc.collect()
                torch.cuda.empty_cache()
            row = made[way]
            row["floor milliseconds"] = 1000 * flops[not way.startswith("full")] / rate
            low, middle, high = row["milliseconds"]
            over = middle / made["PEFT"]["milliseconds"][1] if "PEFT" in made else float("nan")
            floor, spread = row["floor milliseconds"], f"({low:.1f} to {high:.1f})"
            print(f"{case:22} {way:23} {middle:8.2f} {spread:>17} {over:9.3f} {floor:6.1f} {floor / middle:6.2f} "
                  f"{row['peak GiB']:6.2f} {row['reserved GiB']:8.2f}      "
                  f"{row['first step seconds']:5.1f}   {row['losses'][-1]:7.4f}", flush=True)  # fmt: skip
            rows.append(row)
    if options.out:
        whole = {
            "command": f"python tests/benchmarks/captured.py --steps {options.steps} --out {options.out.name}",
            "device": device, "matmul TFLOP/s": rate / 1e12, "seconds": round(time.perf_counter() - started),
            "versions": {"python": platform.python_version(), "torch": torch.__version__}, "results": rows,
        }  # fmt: skip
        options.out.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
