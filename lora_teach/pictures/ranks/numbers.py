"""How much does rank buy? Each rank's gain in accuracy or loss, as a share of full fine-tuning's.

The results lie in ``data/ranks.json`` and ``data/cut_or_train.json``, made by the commands that these name.
"""

from lora_teach.measure.results import load_result


def shares(base, full, reached):
    """Return how much of full fine-tuning's gain over the base each result has: 0 is the base, 1 is full's.

    Works for accuracies, which rise, and for losses, which fall.

    >>> shares(base=0.2, full=0.8, reached=[0.5, 0.8])
    [0.5, 1.0]
    >>> shares(base=3.0, full=2.0, reached=[2.5])
    [0.5]
    """
    return [round((one - base) / (full - base), 9) for one in reached]


def gain_lines():
    """Return what ``data/ranks.json`` and, for Zulu names, ``data/cut_or_train.json`` hold, as `shares`.

    ``{task: {rank: [share, one a seed]}}``: losses and accuracies on one scale.
    """
    names = load_result("cut_or_train")
    base, full, seeds = (names["results"][key] for key in ("base", "full", "by_seed"))
    by_rank = zip(names["settings"]["ranks"], *(one["trained"] for one in seeds), strict=True)
    lines = {f"{names['settings']['language']} names": {rank: shares(base, full, losses) for rank, *losses in by_rank}}
    results = load_result("ranks")["results"]
    for task, alpha in (("turned by 30°", 8), ("turned by 90°", 8), ("inverted", 512), ("inverted", 8)):
        base, full, entries = (results[task][key] for key in ("base", "full", "LoRA"))
        lines[f"{task}, α = {alpha}"] = {
            int(rank): shares(base, full["mean"], entry["test"]) for rank, entry in entries[str(alpha)].items()
        }
    return lines
