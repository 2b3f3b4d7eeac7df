"""Time of a LoRA step over that of a full fine-tuning step, beside the ratio of their FLOPs.

    python tests/benchmarks/step_time.py [--rounds 15] [--threads 1] [--only NAME] [--out FILE]
    python tests/benchmarks/step_time.py --device cuda [--out FILE]

Full fine-tuning and LoRA of rank 8, on q and v and on all linear layers, take turns, in an order drawn anew each round;
each ratio is taken within a round, so that a slow moment of the machine meets all three. A step is split into forward
(with the loss), backward, and optimiser (AdamW). Medians with quartiles. Each has a base of its own, of equal weights.

On the CPU: NameGPT and SmolLM2-135M in float32; the clock is the process's own CPU time. On CUDA: SmolLM2-135M's sizes
and Llama-3.2-1B's, about 1.2 billion, with random weights in bfloat16; the clock is CUDA's events. Nothing is fetched.
"""

import argparse
import gc
import json
import platform
import random
import statistics
import time
import warnings
from pathlib import Path

from lora_teach import LoRAModel
from lora_teach.loop.batches import loss_of
from lora_teach.measure.architectures import build
from lora_teach.measure.costs import QUERY_VALUE, random_batch
from lora_teach.measure.flops import predict_flops

import torch

CASES = {  # device -> [(name, batches)]
    "cpu": [("NameGPT", ((32, 16), (256, 16))), ("SmolLM2-135M", ((1, 64), (4, 64)))],
    "cuda": [
        ("SmolLM2-135M", ((1, 128), (8, 512), (32, 1024))),
        ("Llama-3.2-1B", ((1, 128), (4, 512), (8, 1024), (16, 1024))),
    ],
}
WAYS = {
    "full": None,
    "q v r8": {"rank": 8, "target_modules": QUERY_VALUE},
    "all linear r8": {"rank": 8},
}
PARTS = ("forward", "backward", "optimiser")


class Stopwatch:
    """Marks between the parts of a step; `laps` in milliseconds."""

    def __init__(self, device):
        self.device, self.marks = device, []

    def mark(self):
        """Note the moment: CUDA's in its queue of work, the CPU's as the time that this process has computed."""
        if self.device == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append(event)
        else:
            self.marks.append(time.process_time())

    def laps(self):
        """Milliseconds between one mark and the next."""
        pairs = list(zip(self.marks, self.marks[1:], strict=False))
        if self.device == "cuda":
            torch.cuda.synchronize()
            return [before.elapsed_time(after) for before, after in pairs]
        return [1000 * (after - before) for before, after in pairs]


class Contender:
    """One way of training a base, with its own optimiser."""

    def __init__(self, base, way):
        self.model = base if way is None else LoRAModel(base, **way)
        parameters = list(base.parameters()) if way is None else self.model.trainable_parameters()
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-6, fused=True)

    def step(self, batch, loss_fn, device):
        """Do one step; return the milliseconds of `PARTS`."""
        watch = Stopwatch(device)
        watch.mark()
        loss = loss_of(self.model, batch, loss_fn)
        watch.mark()
        loss.backward()
        watch.mark()
        self.optimizer.step()
        watch.mark()
        self.optimizer.zero_grad(set_to_none=True)
        return watch.laps()


def new_base(name, device):
    """Return a base with random weights, in bfloat16 on CUDA."""
    torch.manual_seed(0)
    return build(name, device).to(torch.bfloat16 if device == "cuda" else torch.float32)


def race(name, size, device, rounds, warm_up=3):
    """Return ``{way: {part: [milliseconds of each round]}}``."""
    flops = {way: predict_flops(build(name), *size, **(options or {})) for way, options in WAYS.items()}
    contenders = {way: Contender(new_base(name, device), options) for way, options in WAYS.items()}
    batch, loss_fn = random_batch(contenders["full"].model, *size)
    taken = {way: {part: [] for part in PARTS} for way in WAYS}
    shuffled = random.Random(0)
    for turn in range(rounds + warm_up):
        for way in shuffled.sample(list(WAYS), len(WAYS)):
            laps = contenders[way].step(batch, loss_fn, device)
            if turn >= warm_up:
                for part, lap in zip(PARTS, laps, strict=True):
                    taken[way][part].append(lap)
    return taken, flops


def quartiles(values):
    """Return lower quartile, median and upper quartile."""
    return statistics.quantiles(values, n=4, method="inclusive")


def compare(taken, flops):
    """Return, for each way, its milliseconds and FLOPs, and both over full fine-tuning's, each part for itself."""
    sums = {way: [sum(step) for step in zip(*parts.values(), strict=True)] for way, parts in taken.items()}
    made = {}
    for way, parts in taken.items():
        ratios = {
            part: quartiles([one / whole for one, whole in zip(parts[part], taken["full"][part], strict=True)])
            for part in PARTS
        }
        ratios["step"] = quartiles([one / whole for one, whole in zip(sums[way], sums["full"], strict=True)])
        full, own = flops["full"], flops[way]
        made[way] = {
            "milliseconds": {part: quartiles(values) for part, values in parts.items()}
            | {"step": quartiles(sums[way])},
            "over full": ratios,
            "flops": {"forward": own.forward, "backward": own.backward},
            "flops over full": {
                "forward": own.forward / full.forward,
                "backward": own.backward / full.backward,
                "step": own.total / full.total,
            },
        }
    return made


def report(name, size, made):
    """Print three lines for each way."""
    for way, row in made.items():
        for part in ("step", *PARTS):
            low, middle, high = row["milliseconds"][part]
            less, ratio, more = row["over full"][part]
            flops = row["flops over full"].get(part)
            print(
                f"{name:13} {size[0]:>3} × {size[1]:<5} {way:14} {part:10} {middle:>10.2f} ms ({low:.2f} to {high:.2f})"
                f"   over full {ratio:.3f} ({less:.3f} to {more:.3f})" + (f"   FLOPs {flops:.3f}" if flops else ""),
                flush=True,
            )


def main():
    """Run every case of a device; print the table, and write it where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=list(CASES), default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--only", help="one model's name")
    parser.add_argument(
        "--out", type=Path, help="also keep the medians and quartiles there, as JSON, beside those of the other device"
    )
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here")
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    where = (
        torch.cuda.get_device_name()
        if options.device == "cuda"
        else f"CPU, {options.threads} thread{'s' * (options.threads > 1)}"
    )
    print(f"torch {torch.__version__}, {where}, {options.rounds} rounds")
    started, results = time.perf_counter(), {}
    for name, batches in CASES[options.device]:
        if options.only not in (None, name):
            continue
        for size in batches:
            taken, flops = race(name, size, options.device, options.rounds)
            results.setdefault(name, {})[f"{size[0]} × {size[1]}"] = made = compare(taken, flops)
            report(name, size, made)
            gc.collect()
            if options.device == "cuda":
                torch.cuda.empty_cache()
    if options.out:
        whole = {
            "command": f"python tests/benchmarks/step_time.py --device {options.device} --out {options.out}",
            "settings": {"rounds": options.rounds, "threads": options.threads, "device": where, "optimizer": "adamw"},
            "unit": "milliseconds; lower quartile, median, upper quartile",
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "seconds": round(time.perf_counter() - started),
            "results": results,
        }
        kept = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
        kept[options.device] = rounded(whole)
        options.out.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def rounded(value):
    """Every float to four significant digits."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
