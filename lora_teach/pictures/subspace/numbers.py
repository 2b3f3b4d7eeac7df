"""How many random directions are enough? The gain of every d, as a share of full fine-tuning's, and d90.

The results lie in ``data/subspace.json``; LoRA's, by rank, are those of the picture ranks.
"""

from statistics import mean

from lora_teach.measure.results import load_result
from lora_teach.pictures.ranks.numbers import gain_lines, shares

A_RANK = {
    "digits": 448,
    "names": 5184,
}  # numbers that LoRA trains at rank 1: DigitNet's hidden layers, NameGPT's blocks
LORA = {  # task: its line in the picture of ranks, and whose numbers
    "turned by 30°": ("turned by 30°, α = 8", "digits"),
    "turned by 90°": ("turned by 90°, α = 8", "digits"),
    "inverted": ("inverted, α = 512", "digits"),
    "Zulu names": ("Zulu names", "names"),
}
ENOUGH = 0.9


def subspace_lines(result=None):
    """Return ``{task: {d: [share of full fine-tuning's gain, one a seed]}}``.

    Args:
        result: What ``load_result("subspace")`` gives; None loads it.
    """
    parts, lines = (result or load_result("subspace"))["results"], {}
    for part in ("digits", "names"):
        for task, entry in parts[part].items():
            if task == "seconds":
                continue
            full = mean(entry["by size"]["full"]["test"])
            lines[task if part == "digits" else f"{task} names"] = {
                int(size): shares(entry["base"], full, found["test"])
                for size, found in entry["by size"].items()
                if size != "full"
            }
    return lines


def lora_lines():
    """Return the same of LoRA, by how many numbers it trains: ``{task: {numbers: [share, one a seed]}}``."""
    ranks = gain_lines()
    return {
        task: {rank * A_RANK[part]: seeds for rank, seeds in ranks[line].items()} for task, (line, part) in LORA.items()
    }


def enough(line, share=ENOUGH):
    """Return d90, the smallest d whose mean reaches this share of full fine-tuning's gain; None where none does.

    >>> enough({8: [0.2, 0.3], 64: [0.8, 1.0], 512: [1.0]})
    64
    """
    return next((size for size in sorted(line) if mean(line[size]) >= share - 1e-9), None)
