"""From laptop to cluster: what a training step of each size of model needs, and the smallest machine that has it."""

from dataclasses import dataclass

from lora_teach.measure.architectures import build, targets
from lora_teach.measure.predicted_memory import predict_peak
from lora_teach.measure.results import load_result

import torch

GB = 1e9  # as machines are sold
MACHINES = {"laptop, 16 GB": 16, "card of 24 GB": 24, "card of 80 GB": 80, "4 × 80 GB": 320, "16 × 80 GB": 1280}
USABLE = 0.9  # of a machine's memory: the rest is the system's and the kernels'
STEPS = (("SmolLM2-135M", 8), ("Llama-3.2-1B", 1), ("Llama-3.1-8B", 1), ("GPT-3 175B", 1))
SEQ_LEN, RANK = 512, 8
WAYS = {  # what `predict_memory` is told, and what data/memory_cuda.json calls it
    "full": ({}, "full"),
    "LoRA": ({"rank": RANK}, "all linear r8"),
    "LoRA, checkpointed": ({"rank": RANK, "checkpointing": True}, "all linear r8, checkpointed"),
}


@dataclass(frozen=True)
class Need:
    """What a training step needs at most, in GB of 10⁹ bytes: ``predicted``, and ``measured`` on a GPU or None."""

    predicted: float
    measured: float | None

    @property
    def machine(self):
        """The smallest of MACHINES that has as much."""
        return smallest_machine(self.measured or self.predicted)


def smallest_machine(needed):
    """Return the smallest of MACHINES that can hold so many GB, or "more than that".

    >>> smallest_machine(3.9), smallest_machine(15), smallest_machine(5000)
    ('laptop, 16 GB', 'card of 24 GB', 'more than that')
    """
    return next((name for name, size in MACHINES.items() if needed <= USABLE * size), "more than that")


def needs(name, batch_size, seq_len=SEQ_LEN):
    """Return ``{way: Need}`` of a step in bfloat16 with AdamW, for each of WAYS.

    Args:
        name: One of `lora_teach.measure.architectures.ARCHITECTURES`.
        batch_size: Sequences in a batch.
        seq_len: Tokens in each.
    """
    model, found = build(name), {}
    for way, (options, setting) in WAYS.items():
        adapted = {"target_modules": targets(name, "all linear")} if "rank" in options else {}
        peak = predict_peak(model, batch_size, seq_len, dtype=torch.bfloat16, **options, **adapted)
        found[way] = Need(peak / GB, _measured(name, batch_size, seq_len, setting))
    return found


def _measured(name, batch_size, seq_len, setting):
    """The most that such a step held by CUDA's allocator, in GB, or None if none was run."""
    wanted = {"model": name, "dtype": "bfloat16", "batch": batch_size, "seq": seq_len, "setting": setting}
    for one in load_result("memory_cuda")["results"]:
        if wanted.items() <= one.items():
            return one["peak"] / GB
    return None
