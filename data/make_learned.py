"""Look into what fine-tuning learned: spectra, subspaces and intruders of full fine-tuning and of LoRA at four ranks.

    OMP_NUM_THREADS=1 python data/make_learned.py Zulu       about 4 minutes on one core
    OMP_NUM_THREADS=1 python data/make_learned.py Icelandic  about 9 minutes; each fills its part of data/learned.json

At the learning rates that the Race chose (data/race.json); ranks that it has not try two with the first seed and take
the better on validation names. Three seeds; each run is looked at where the loss on validation names was lowest.
"""

import argparse
import json
import time
from functools import cache, partial
from itertools import combinations
from pathlib import Path

from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.intruders import amplification, nearest_cosines
from lora_teach.measure.learned import Shrinker, matrices, overlaps, updates
from lora_teach.measure.results import load_result, write_result
from lora_teach.measure.spectrum import effective_rank, energy_lost, spectrum
from lora_teach.measure.strength import strength_path
from lora_teach.measure.subspace import similarity_map
from lora_teach.measure.tuning import FULL, best_learning_rate, label, trainable_copy, tune
from lora_teach.model import LoRAModel

SETTINGS = {
    "ranks": [1, 2, 8, 64, FULL],
    "learning_rates": [3e-3, 1e-2],
    "seeds": [0, 1, 2],
    "steps": {"Zulu": 400, "Icelandic": 800},
    "check_every": 20,
    "patience": 100,
    "batch_size": 32,
    "epsilons": [0.3, 0.4, 0.5, 0.6, 0.7, 0.8],
    "epsilon": 0.5,  # of the intruders that are shrunk
    "k": 10,
    "matched": 0.75,  # the intruders' factor for which a strength of equal loss is looked for
    "factors": [0.0, 0.25, 0.5, 0.75, 1.0],  # of the intruders' singular values, and of the whole update
    "directions": 8,  # compared between two runs
    "mapped": {"language": "Zulu", "block": "blocks.1.", "sizes": [8, 16]},  # spectra and heat maps, first seed
}
SHARE = 0.9  # of the squared entries, in "how many directions hold most of it"


def run_all(language, settings):
    """Tune every contender once a seed; return ``{label: {"lr", "tried", "runs": [(Tuned, model), …]}}``."""
    chosen = load_result("race")["results"][language]["contenders"]
    options = {key: settings[key] for key in ("check_every", "patience", "batch_size")}
    options["steps"], base, all_runs = settings["steps"][language], load_name_gpt(), {}

    def run(rank, lr, seed):
        model = trainable_copy(base, rank, seed)
        return tune(model, language, lr=lr, seed=seed, **options), model

    for rank in settings["ranks"]:
        name, first = label(rank), settings["seeds"][0]
        rates = [chosen[name]["lr"]] if name in chosen else settings["learning_rates"]
        trial = cache(partial(run, rank, seed=first))
        best, tried = best_learning_rate(lambda lr, trial=trial: trial(lr)[0].best_validation, rates)
        runs = [trial(best), *(run(rank, best, seed) for seed in settings["seeds"][1:])]
        all_runs[name] = {"lr": best, "tried": {str(lr): loss for lr, loss in tried.items()}, "runs": runs}
        print(language, name, best, [one.best_step for one, _ in runs], flush=True)
    return all_runs


def directions_for(matrix, share=SHARE):
    """Return the least number of outer products that hold this share of the squared entries.

    Biderman and others 2024 (arXiv 2405.09673, section 4.6) call it the rank of ΔW, with a share of 0.9.
    """
    return int((energy_lost(matrix) > 1 - share + 1e-9).sum())


def portrait(base, model, epsilons, k, rank=None):
    """Return what the update of every layer is like: lists, an entry a layer in the order of `updates`.

    Args:
        base: The NameGPT that was tuned.
        model: The tuned one, as for `matrices`.
        epsilons: Intruders are counted for each.
        k: How many leading singular vectors of a tuned weight are looked at.
        rank: How many directions of ΔW the amplification is about; None means 4, as in the paper's Table 7.

    Returns:
        ``relative`` (``‖ΔW‖ / ‖W‖``), ``effective_rank``, ``directions`` (`directions_for` 90 %), ``intruders``
        (``{ε: counts}``), ``amplification`` (the factor), and ``emphasis``, where W's norm along ΔW's directions lies
        between chance (0) and the most it can be (1).
    """
    before, after = matrices(base), matrices(model)
    kept = {"relative": [], "effective_rank": [], "directions": [], "intruders": {str(e): [] for e in epsilons}}
    kept |= {"amplification": [], "emphasis": []}
    for name, W1 in after.items():
        W0, delta = before[name], W1 - before[name]
        kept["relative"].append((delta.norm() / W0.norm()).item())
        kept["effective_rank"].append(effective_rank(delta))
        kept["directions"].append(directions_for(delta))
        cosines = nearest_cosines(W0, W1, k)  # (k,)
        for epsilon, counts in zip(epsilons, kept["intruders"].values(), strict=True):
            counts.append(int((cosines < epsilon).sum()))
        found = amplification(W0, delta, rank or 4)
        kept["amplification"].append(found.factor)
        span = found.along_own - found.along_random
        kept["emphasis"].append((found.along_update - found.along_random) / span)
    return kept


def spectra(base, model, rank=None):
    """Return ``{layer: σ of its ΔW}``, largest first, in lists of ``rank`` numbers; None means all there are."""
    return {name: spectrum(delta)[:rank].tolist() for name, delta in updates(base, model).items()}


def input_directions(model, base=None):
    """Return ``{layer: matrix}`` whose left singular vectors are the directions of the input that its update reads.

    For a LoRAModel its lora_A, ``(in_features, rank)``, as in the paper's section 7.2; for a fully tuned NameGPT ΔW.T,
    ``(in_features, out_features)``, and then ``base`` is what it was tuned from.
    """
    if isinstance(model, LoRAModel):
        return {name: layer.lora_A.detach() for name, layer in model.lora_layers.items()}
    return {name: delta.T for name, delta in updates(base, model).items()}


def matched_strength(base, model, loss, new, old, points=40):
    """Return how far the whole update can be turned down before its loss on ``new`` is above ``loss``.

    Args:
        base: The NameGPT that was tuned.
        model: The tuned one, a NameGPT or a LoRAModel around one; it is left as it is.
        loss: In nats a letter.
        new: Names of the new language.
        old: Names of the base's own.
        points: Strengths from 1 / points to 1 are tried.

    Returns:
        ``strength``, the lowest that keeps the loss (if none does, the one with the lowest loss), and ``loss``, the
        losses ``[new, old]`` there.
    """
    strengths = [step / points for step in range(1, points + 1)]
    losses = [first for first, _ in strength_path(model, strengths, new, old[:1], base)]
    low = [strength for strength, reached in zip(strengths, losses, strict=True) if reached <= loss]
    strength = low[0] if low else strengths[losses.index(min(losses))]
    return {"strength": strength, "loss": list(strength_path(model, [strength], new, old, base)[0])}


def looked_into(model, tuned, rank, language, settings):
    """Return the entry of one run: its losses, its portrait, and its losses while it is turned down in two ways."""
    base, lists = load_name_gpt(), (names.load(language).test, names.load("English").test)
    shrinker = Shrinker(base, model, settings["epsilon"], settings["k"])
    quarter_off = shrinker.path([settings["matched"]], lists[0])[0][0]
    return {
        "seed": tuned.seed,
        "best_step": tuned.best_step,
        "loss": [evaluate(model, some) for some in lists],
        **portrait(base, model, settings["epsilons"], settings["k"], rank),
        "intruders shrunk": shrinker.path(settings["factors"], *lists),
        "update shrunk": strength_path(model, settings["factors"], *lists, base),
        "matched": matched_strength(base, model, quarter_off, *lists),
    }


def similarities(all_runs, language, settings):
    """Return φ by pair of runs: ``by_layer`` (one ``{layer: [φ(1, 1), φ(2, 2), …]}`` a pair) and ``maps``."""
    base, most = load_name_gpt(), settings["directions"]
    found = {name: [input_directions(model, base) for _, model in entry["runs"]] for name, entry in all_runs.items()}
    low, high, full = found["LoRA r=8"], found["LoRA r=64"], found["full"]
    pairs = {
        "r=8, two seeds": list(combinations(low, 2)),
        "r=64, two seeds": list(combinations(high, 2)),
        "r=8 and r=64": list(zip(low, high, strict=True)),
        "full, two seeds": list(combinations(full, 2)),
    }
    written = [
        {name: delta.T for name, delta in updates(base, model).items()} for _, model in all_runs["LoRA r=8"]["runs"]
    ]
    pairs["r=8, two seeds, ΔW"] = list(combinations(written, 2))
    pairs["r=8 and full, ΔW"] = list(zip(written, full, strict=True))
    by_layer = {name: [overlaps(a, b, most) for a, b in several] for name, several in pairs.items()}
    rows, columns = settings["mapped"]["sizes"]
    mapped = settings["mapped"] if language == settings["mapped"]["language"] else {"block": "none"}
    layers = [name for name in low[0] if name.startswith(mapped["block"])]
    maps = {
        "r=8 and r=64": {name: similarity_map(low[0][name], high[0][name], rows, columns).tolist() for name in layers},
        "r=64, two seeds": {
            name: similarity_map(high[0][name], high[1][name], rows, columns).tolist() for name in layers
        },
    }
    return {"by_layer": by_layer, "maps": maps, "inputs": {name: len(matrix) for name, matrix in low[0].items()}}


def main():
    """Run one language and write its part of the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("language", choices=list(SETTINGS["steps"]))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "learned.json")
    options, start = parser.parse_args(), time.perf_counter()
    language, base = options.language, load_name_gpt()
    all_runs, ranks = run_all(language, SETTINGS), {label(rank): rank for rank in SETTINGS["ranks"]}
    contenders = {
        name: {
            "lr": entry["lr"],
            "tried": entry["tried"],
            "runs": [looked_into(model, tuned, ranks[name], language, SETTINGS) for tuned, model in entry["runs"]],
        }
        for name, entry in all_runs.items()
    }
    if language == SETTINGS["mapped"]["language"]:
        for name, entry in all_runs.items():
            contenders[name]["spectra"] = spectra(base, entry["runs"][0][1], ranks[name])
    result = {
        "base": [evaluate(base, names.load(one).test) for one in (language, "English")],
        "contenders": contenders,
        "similarities": similarities(all_runs, language, SETTINGS),
    }
    result["seconds"] = round(time.perf_counter() - start)
    before = json.loads(options.out.read_text(encoding="utf-8"))["results"] if options.out.exists() else {}
    results = {one: (before | {language: result})[one] for one in SETTINGS["steps"] if one in {*before, language}}
    seconds = sum(one.get("seconds", 0) for one in results.values())
    write_result(options.out, "learned", SETTINGS, results, seconds, flat=True)


if __name__ == "__main__":
    main()
