"""The finished experiments in ``data/*.json``: how they are written, and how a notebook reads them.

Each file says which command made it, with which settings and versions and in how many seconds; ``results`` holds what
came out.
"""

import json
import platform
import re

from lora_teach.datasets.shipped import shipped_file

import torch

RESULTS = {
    "race": "python data/make_race.py",
    "cut_or_train": "python data/make_cut_or_train.py",
    "turn_it_down": "python data/make_turn_it_down.py",
    "ranks": "python data/make_ranks.py",
    "memory": "python data/make_memory.py",
    "memory_cuda": "python tests/benchmarks/memory_cuda.py --out data/memory_cuda.json",
    "answer_sheet": "python data/make_answer_sheet.py",
    "forgetting": "python data/make_forgetting.py",
    "angle": "python data/make_angle.py",
    "places": "python data/make_places.py",
    "beside": "python data/make_beside.py",
    "learned": "python data/make_learned.py",
    "new_data": "python data/make_new_data.py",
    "examples": "python data/make_examples.py",
    "variants": "python data/make_variants.py",
    "variants_smollm2": "python data/make_variants_smollm2.py",
    "quantized": "python data/make_quantized.py",
    "rewards": "python data/make_rewards.py",
    "json_reward": "python data/make_json_reward.py",
    "subspace": "python data/make_subspace.py",
    "batch_size": "python data/make_batch_size.py",
    "control": "python data/make_control.py",
    "black_paper": "python data/make_black_paper.py",
}


def load_result(name):
    """Return what ``data/<name>.json`` holds: a dict with ``command``, ``settings``, ``versions`` and ``results``.

    Raises:
        ValueError: An unknown name; the message lists the known ones.
        FileNotFoundError: The file is missing; the message gives the command that makes it.
    """
    if name not in RESULTS:
        raise ValueError(f"name={name!r} is not one of the finished experiments. Use one of {', '.join(RESULTS)}.")
    return json.loads(shipped_file(f"{name}.json", RESULTS[name]).read_text(encoding="utf-8"))


def write_result(path, name, settings, results, seconds, unit="nats a letter", flat=False):
    """Write an experiment as ``load_result`` reads it; ``seconds`` is how long it took, ``unit`` the results'.

    With ``flat`` each list of numbers stands on one line: for experiments with many of them.
    """
    whole = {
        "command": RESULTS[name],
        "settings": settings,
        "unit": unit,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "seconds": round(seconds),
        "results": _rounded(results),
    }
    text = json.dumps(whole, indent=1, ensure_ascii=False)
    if flat:
        text = re.sub(r"\[[^][{}\"]*\]", lambda found: " ".join(found[0].split()), text)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def _rounded(value):
    """Return the same structure with every float to four digits: losses differ from machine to machine after that."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return round(value, 4) if isinstance(value, float) else value
