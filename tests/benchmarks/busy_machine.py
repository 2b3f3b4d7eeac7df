"""What a training step takes on a machine that is idle or busy, with OpenMP's threads spinning or passive.

    python tests/benchmarks/busy_machine.py [--steps 3] [--loops 2] [--rounds 3]

A LoRA step of a random model of SmolLM2's size, six sequences of 70 tokens. Each way has a process of its own, since
OpenMP reads OMP_WAIT_POLICY once; the two ways take turns. "spinning" is torch's default, "passive" is
OMP_WAIT_POLICY=PASSIVE. The busy loops are processes that do nothing but count.
"""

import argparse
import os
import statistics
import subprocess
import sys

STEP = """
import time
import torch  # first, so that lora_teach's own setting comes too late and the environment's counts
from lora_teach import LoRAModel
from lora_teach.measure.architectures import build

torch.manual_seed(0)
model = LoRAModel(build("SmolLM2-135M", "cpu"), rank=8)
optimizer = torch.optim.AdamW(model.trainable_parameters())
tokens = torch.randint(49_152, (6, 70))
for _ in range({steps} + 1):
    started = time.perf_counter()
    model(input_ids=tokens, labels=tokens).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(time.perf_counter() - started, flush=True)
"""
WAYS = {"spinning": {}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}}


def step_times(way, steps):
    """Return the seconds of ``steps`` steps in a new process, the first (a warm-up) left out."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", STEP.format(steps=steps)], env=environment | WAYS[way], capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)
    return [float(line) for line in done.stdout.split()][1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--loops", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for loops in (0, options.loops):
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
        try:
            seconds = {way: [] for way in WAYS}
            for _ in range(options.rounds):
                for way in WAYS:
                    seconds[way] += step_times(way, options.steps)
        finally:
            for process in busy:
                process.kill()
        middle = {way: statistics.median(times) for way, times in seconds.items()}
        for way, times in seconds.items():
            print(f"{loops} busy loops, {way:8} {middle[way]:6.2f} s a step ({min(times):.2f} to {max(times):.2f})")
        print(f"{loops} busy loops, passive / spinning: {middle['passive'] / middle['spinning']:.2f}", flush=True)


if __name__ == "__main__":
    main()
