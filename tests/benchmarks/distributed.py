"""Tokens a second on 1, 2 and 4 GPUs, and whether they train the same: DDP and FSDP2 by `training_steps`.

    python tests/benchmarks/distributed.py [--gpus 1,2,4] [--steps 30] [--only NAME] [--out FILE]
    python tests/benchmarks/distributed.py --gpus 1,2 --cpu        the same check of equality on gloo; no speed

It starts itself under torchrun, once for each number of GPUs. Random weights in bfloat16, rank 8 on all linear layers;
each GPU has the same number of rows whatever their number, so the efficiency is tokens a second over those of one GPU,
times their number. Peak GiB is of the fullest GPU, from the first step on. Equality: a small Llama in float32 trains 20
steps on the same global batches; the largest difference of the losses and of the adapter from one process's. Nothing is
fetched.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

from lora_teach import LoRAModel, training_steps
from lora_teach.measure.architectures import build
from lora_teach.measure.costs import TINY_LLAMA
from lora_teach.utils import processes

import torch

CASES = [("SmolLM2-135M", 16, 512), ("Llama-3.2-1B", 8, 512)]  # model, rows for each GPU, tokens in each
WAYS = {"DDP": False, "FSDP2": True}
RANK, WARM_UP, GIB, ROOT = 8, 5, 2**30, Path(__file__).resolve().parents[2]


def work(options):
    """Measure in this process, one of several; process 0 writes what came out."""
    device = torch.device("cpu" if options.cpu else f"cuda:{os.environ['LOCAL_RANK']}")
    if not options.cpu:
        torch.cuda.set_device(device)
    number, among = processes.place()
    made = {"speed": [], "equality": {}}
    for way, shard in WAYS.items():
        made["equality"][way] = small_run(device, shard)
    for name, rows, seq in [] if options.cpu else CASES:
        if options.only in (None, name):
            for way, shard in WAYS.items():
                made["speed"].append(speed(name, rows, seq, way, shard, device, options.steps, among))
    if number == 0:
        torch.save(made, options.worker)


def small_run(device, shard):
    """Train a small Llama in float32; return its losses and its adapter, in one vector."""
    import transformers

    torch.manual_seed(0)
    base = transformers.LlamaForCausalLM(transformers.LlamaConfig(**TINY_LLAMA)).to(device)
    model, draw = LoRAModel(base, rank=RANK), torch.Generator().manual_seed(1)
    batches = []
    for _ in range(5):
        ids = torch.randint(TINY_LLAMA["vocab_size"], (8, 24), generator=draw)
        lengths = torch.randint(4, 24, (8, 1), generator=draw)
        batches.append({"input_ids": ids, "labels": ids.masked_fill(torch.arange(24) < lengths, -100)})
    losses = [step.loss for step in training_steps(model, batches, lr=1e-3, steps=20, shard=shard)]
    return losses, torch.cat([processes.whole(p.detach()).flatten().cpu() for p in model.trainable_parameters()])


def speed(name, rows, seq, way, shard, device, steps, among):
    """Return one row: tokens a second of all GPUs, and the peak of the fullest."""
    torch.manual_seed(0)
    base = build(name, device).to(torch.bfloat16)
    base.config.use_cache = False
    model = LoRAModel(base, rank=RANK, alpha=2 * RANK)
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(base.config.vocab_size, (rows * among, seq), generator=draw)
    seconds, started = [], False
    for step in training_steps(model, [{"input_ids": ids, "labels": ids}], lr=1e-5, steps=steps + WARM_UP, shard=shard):
        if not started:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            started = True
        seconds.append(step.seconds)
    peaks = processes.gathered(torch.cuda.max_memory_allocated() / GIB)
    low, middle, high = statistics.quantiles(seconds[WARM_UP:], n=4, method="inclusive")
    del model, base
    torch.cuda.empty_cache()
    tokens = rows * among * seq
    return {
        "model": name, "rows for each GPU": rows, "seq": seq, "way": way, "GPUs": among,
        "tokens a second": tokens / middle, "milliseconds": [1000 * low, 1000 * middle, 1000 * high],
        "peak GiB": max(peaks) if isinstance(peaks, list) else peaks,
    }  # fmt: skip


def start(count, options, folder):
    """Run this file under torchrun; return what process 0 wrote."""
    result = Path(folder) / f"{count}.pt"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    command += [__file__, "--worker", str(result), "--steps", str(options.steps)]
    command += ["--only", options.only] if options.only else []
    command += ["--cpu"] if options.cpu else []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    subprocess.run(command, check=True, env=environment | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")})
    return torch.load(result)


def main():
    """Print the table, and write it where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", default="1,2,4", help="how many GPUs, in turn; those that are not here are left out")
    parser.add_argument("--steps", type=int, default=30, help="that count, after a few that don't")
    parser.add_argument("--only", help="one model's name")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.worker:
        work(options)
        return
    there = torch.cuda.device_count()
    counts = [int(count) for count in options.gpus.split(",") if options.cpu or int(count) <= there]
    if not counts:
        parser.error(f"there are {there} CUDA devices here")
    device = "CPU, gloo" if options.cpu else torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, {device}; processes: {', '.join(map(str, counts))}", flush=True)
    started, rows, equality, one, alone = time.perf_counter(), [], [], {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            made = start(count, options, folder)
            for way, (losses, adapter) in made["equality"].items():
                first_losses, first = alone.setdefault("one", (losses, adapter))
                off = max(abs(a - b) for a, b in zip(losses, first_losses, strict=True))
                equality.append({
                    "processes": count, "way": way, "losses": off, "adapter": (adapter - first).abs().max().item()
                })  # fmt: skip
                within = f"losses within {off:.1e}, adapter within {equality[-1]['adapter']:.1e}"
                print(f"{count} processes, {way:5}: {within} of {counts[0]} by {next(iter(WAYS))}", flush=True)
            for row in made["speed"]:
                key = row["model"], row["way"]
                first = one.setdefault(key, row)
                row["efficiency"] = row["tokens a second"] / first["tokens a second"] * first["GPUs"] / count
                size = f"{row['rows for each GPU']} × {row['seq']} a GPU"
                case = f"{row['model']:13} {size:16} {count} GPUs, {row['way']:5}"
                print(f"{case} {row['tokens a second']:>10,.0f} tokens/s  {row['milliseconds'][1]:8.1f} ms  "
                      f"efficiency {row['efficiency']:.2f}  peak {row['peak GiB']:.2f} GiB", flush=True)  # fmt: skip
                rows.append(row)
    if options.out:
        whole = {
            "command": f"python tests/benchmarks/distributed.py --gpus {options.gpus} --steps {options.steps}",
            "device": device, "seconds": round(time.perf_counter() - started),
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "equality": equality, "results": rows,
        }  # fmt: skip
        options.out.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
