"""Times of training steps that were measured, from ``data/step_time.json``, beside the FLOPs predicted for them."""

import json
from dataclasses import dataclass

from lora_teach.datasets.shipped import shipped_file

COMMAND = "python tests/benchmarks/step_time.py --device cuda --out data/step_time.json"
WAYS = ("all linear r8", "q v r8")


@dataclass(frozen=True)
class StepTime:
    """One way of training one model with one batch on one device, as shares of full fine-tuning's.

    ``batch`` is "8 × 512", sequences × tokens; ``flops`` are predicted, ``time`` is the lower quartile, median and
    upper quartile of what was measured; ``milliseconds`` are a step's medians, full fine-tuning's and LoRA's.
    """

    device: str
    model: str
    batch: str
    way: str
    flops: float
    time: tuple
    milliseconds: tuple


def step_times(way="all linear r8"):
    """Return the measured steps of one of `WAYS` in the order of the file; none where nothing was measured.

    The file is what ``tests/benchmarks/step_time.py`` writes, or several of these in a mapping or a list, one for each
    device.

    Raises:
        ValueError: An unknown way.
    """
    if way not in WAYS:
        raise ValueError(f"way={way!r} was not measured. Use one of {', '.join(WAYS)}.")
    try:
        text = shipped_file("step_time.json", COMMAND).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    whole = json.loads(text)
    runs = [whole] if "results" in whole else list(whole.values() if isinstance(whole, dict) else whole)
    return [
        StepTime(
            device=run["settings"]["device"],
            model=model,
            batch=batch,
            way=way,
            flops=made[way]["flops over full"]["step"],
            time=tuple(made[way]["over full"]["step"]),
            milliseconds=tuple(made[one]["milliseconds"]["step"][1] for one in ("full", way)),
        )
        for run in runs
        for model, batches in run["results"].items()
        for batch, made in batches.items()
    ]
