"""The negative control of notebook 11: random updates of the same size and rank as those that were learned.

    OMP_NUM_THREADS=1 python data/make_control.py [--out data/control.json]  10 minutes, after make_learned

For every run of ``data/learned.json`` each layer is moved as far as training moved it, at the same rank, in a random
direction; then it is looked at in the same ways. What a random update shows as well says nothing about learning.
"""

import argparse
import copy
import time
from pathlib import Path

from data.make_learned import portrait, spectra
from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.learned import Shrinker, matrices
from lora_teach.measure.random_update import random_like
from lora_teach.measure.results import load_result, write_result
from lora_teach.measure.strength import strength_path

import torch

SETTINGS = {
    "ranks": {"LoRA r=1": 1, "LoRA r=2": 2, "LoRA r=8": 8, "LoRA r=64": 64, "full": None},
    "factors": [0.0, 0.25, 0.5, 0.75, 1.0],  # of the intruders' singular values, and of the whole update
    "epsilon": 0.5,
    "k": 10,
    "seeds": [0, 1, 2],  # those of the learned runs; each decides a random update
}


@torch.no_grad()
def moved_at_random(base, relative, rank, seed):
    """Return a copy of NameGPT whose layers have each moved by this share of ‖W‖, at this rank, as ``seed`` decides."""
    model, draw = copy.deepcopy(base).requires_grad_(False), torch.Generator().manual_seed(seed)
    for (path, weight), share in zip(matrices(base).items(), relative, strict=True):
        model.get_submodule(path).weight += random_like(share * weight, rank, draw)
    return model


def control_run(base, run, rank, language, settings):
    """Return what `data.make_learned.looked_into` returns of a run, of a random update of its size in each layer."""
    lists = names.load(language).test, names.load("English").test
    model = moved_at_random(base, run["relative"], rank, run["seed"])
    shrinker = Shrinker(base, model, settings["epsilon"], settings["k"])
    return {
        "seed": run["seed"],
        "loss": [evaluate(model, some) for some in lists],
        **portrait(base, model, [settings["epsilon"]], settings["k"], rank),
        "intruders shrunk": shrinker.path(settings["factors"], *lists),
        "update shrunk": strength_path(model, settings["factors"], *lists, base),
    }


def main():
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "control.json")
    out, base, began, results = parser.parse_args().out, load_name_gpt(), time.perf_counter(), {}
    for language, learned in load_result("learned")["results"].items():
        results[language] = {}
        for name, rank in SETTINGS["ranks"].items():
            runs = [control_run(base, run, rank, language, SETTINGS) for run in learned["contenders"][name]["runs"]]
            results[language][name] = {"runs": runs}
            print(language, name, [sum(run["intruders"]["0.5"]) for run in runs], flush=True)
    for name, rank in SETTINGS["ranks"].items():
        run = load_result("learned")["results"]["Zulu"]["contenders"][name]["runs"][0]
        model = moved_at_random(base, run["relative"], rank, run["seed"])
        results["Zulu"][name]["spectra"] = spectra(base, model, rank)
    write_result(out, "control", SETTINGS, results, time.perf_counter() - began, flat=True)


if __name__ == "__main__":
    main()
