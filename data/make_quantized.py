"""What four bits cost: the error by bits and block size, and LoRA over an NF4 base beside LoRA over float32.

    OMP_NUM_THREADS=1 python data/make_quantized.py [--out FILE] [--most RUNS]       about 20 minutes on one free core

On NameGPT, with its learning rate chosen on validation names, and on SmolLM2 and the task of notebook 07, whose float32
runs lie in ``answer_sheet.json``: all of it in NF4 or only its MLPs or its attention, trained, and untrained with
examples in the prompt. Every run is written as soon as it is done, and a command that is given again goes on where the
last one stopped; with ``--most`` it does only so many runs.
"""

import argparse
import copy
import json
import sys
import time
from pathlib import Path
from statistics import mean, stdev

from lora_teach import LoRAModel
from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.bases.quantized import bits_per_parameter, dequantize_, quantize, quantize_
from lora_teach.bases.registry import load_base
from lora_teach.datasets import appointments, names
from lora_teach.measure.results import write_result
from lora_teach.measure.tuning import trainable_copy, tune_best
from lora_teach.pictures.answer_sheet import numbers as sheets

import torch
from torch import nn

SETTINGS = {
    "seeds": [0, 1, 2],
    "error": {"bits": [2, 3, 4, 5, 6, 8], "block_sizes": [32, 64, 128, 256, 1024]},
    "names": {
        "language": "Finnish", "rank": 4, "learning_rates": [1e-3, 3e-3, 1e-2, 3e-2], "steps": 300, "check_every": 20,
        "batch_size": 32,
    },
    "SmolLM2": {
        "rank": 8, "alpha": 16, "lr": 1e-3, "batch_size": 6, "steps": [20, 40, 60], "sentences": 24, "most_tokens": 64,
        "float32": "answer_sheet.json",
    },
    "kinds": {  # what is left in float32
        "NF4": [], "NF4 in the MLPs": ["q_proj", "k_proj", "v_proj", "o_proj"],
        "NF4 in attention": ["gate_proj", "up_proj", "down_proj"],
    },
    "examples": 4,
    "trained": {"NF4 in the MLPs": [20]},
}  # fmt: skip


def error_entry(weights, bits, block_sizes):
    """Return what quantising ``weights`` loses and takes, for each number of bits and each block size.

    Returns:
        ``{"4 bits, 64": {"error": …, "bits": …, "bits_single": …}}``: the root of the squared error's share of the
        squared weights, with scales that are quantised too; the bits that a number takes so, and with float32 scales.
    """
    entry, whole = {}, sum(weight.square().sum().item() for weight in weights)
    count = sum(weight.numel() for weight in weights)
    for width in bits:
        for block_size in block_sizes:
            lost = taken = single = 0.0
            for weight in weights:
                kept = quantize(weight, width, block_size)
                lost += (kept.dequantize() - weight).square().sum().item()
                taken += kept.bits_per_number * weight.numel()
                single += quantize(weight, width, block_size, double=False).bits_per_number * weight.numel()
            entry[f"{width} bits, {block_size}"] = {
                "error": (lost / whole) ** 0.5, "bits": taken / count, "bits_single": single / count
            }  # fmt: skip
    return entry


def names_entry(base, seeds, language, rank, learning_rates, **options):
    """Train LoRA over a NameGPT, plain or quantised, at the best rate; return the losses and the models, one a seed."""
    split = names.load(language)
    tried, tuned = tune_best(lambda seed: trainable_copy(base, rank, seed), language, learning_rates, seeds, **options)
    test = [evaluate(model, split.test) for _, model in tuned]
    entry = {
        "English": evaluate(base, names.load("English").test),
        "untrained": evaluate(base, split.test),
        "lr": tuned[0][0].lr,
        "tried": {str(lr): loss for lr, loss in tried.items()},
        "test": test,
        "mean": mean(test),
        "spread": stdev(test) if len(test) > 1 else 0.0,
    }
    return entry, [model for _, model in tuned]


def merged_entry(models, base, language):
    """Return the test loss, one a seed, after each way of merging an adapter that was trained over NF4.

    Args:
        models: LoRAModels over quantised bases, which stay as they are.
        base: The base from before quantising.
        language: Whose test names are read.
    """
    test, ways = names.load(language).test, {"over NF4": [], "dequantised": [], "quantised again": [], "original": []}
    for model in models:
        ways["over NF4"].append(evaluate(model, test))
        merged = dequantize_(copy.deepcopy(model)).remove(merge=True)
        ways["dequantised"].append(evaluate(merged, test))
        ways["quantised again"].append(evaluate(quantize_(merged), test))
        wrong = copy.deepcopy(model)
        for name, module in dequantize_(wrong).base_model.named_modules():
            if type(module) is nn.Linear and not name.endswith("head"):
                module.weight = base.get_submodule(name).weight
        ways["original"].append(evaluate(wrong, test))
    return ways


def language_model_run(base, exam, seed, rank, alpha, steps, **options):
    """Train one adapter over a quantised SmolLM2 on notebook 07's task; return its losses and its sheets."""
    torch.manual_seed(seed)
    model, losses, found, started = LoRAModel(base.model, rank=rank, alpha=alpha), [], {}, time.perf_counter()
    try:
        for piece in sheets.exam_steps(base, model, exam, max(steps), steps, seed=seed, **options):
            if isinstance(piece, sheets.Sheet):
                marks = ["".join(str(int(mark)) for mark in row) for row in piece.marks]
                found[str(len(losses))] = {"right": piece.right(), "marks": marks, "answers": list(piece.answers)}
            else:
                losses.append(piece.loss)
        return {"loss": losses, "sheets": found, "seconds": round(time.perf_counter() - started)}
    finally:
        model.remove()


def untrained(base, exam):
    """Return how many answers are right, and in which columns, of a base that has seen examples in its prompt alone."""
    sheet = sheets.sit(base, base.model, exam, sheets.with_examples(SETTINGS["examples"]))
    return {"right": sheet.right()} | {column: sheet.count(column) for column in sheets.COLUMNS}


def most_values(weights, block_size):
    """Return how many different values a block of neighbouring weights holds at most: 16 where each has four bits."""
    ordered = (weight.reshape(-1, block_size).sort(1).values for weight in weights)  # (blocks, block_size) each
    return max((1 + (blocks.diff() != 0).sum(1)).max().item() for blocks in ordered)


def planned():
    """Yield each run as ``(key, function)``; a key is a path into the results."""
    options, language = dict(SETTINGS["names"]), SETTINGS["names"]["language"]

    def names_runs():
        plain = load_name_gpt()
        entries, models = {}, None
        for kind, base in (("float32", plain), ("NF4", quantize_(load_name_gpt()))):
            entries[kind], models = names_entry(base, SETTINGS["seeds"], **options)
        bits = {"linear layers": bits_per_parameter(base)}
        return entries | {"bits": bits, "merged": merged_entry(models, plain, language)}

    yield "names", names_runs
    yield "error of NameGPT", lambda: error_entry(_linear_weights(load_name_gpt()), **SETTINGS["error"])
    loaded, options = {}, SETTINGS["SmolLM2"]

    def smollm2(kind=None):
        """Return the base, plain or quantised as this kind, and the exam; one model at a time lies in memory."""
        if kind not in loaded:
            loaded.clear()
            base = loaded[kind] = load_base("smollm2")
            if kind:
                quantize_(base.model, exclude_modules=SETTINGS["kinds"][kind])
        return loaded[kind], appointments.exam(options["sentences"])

    def run(kind, seed, steps=options["steps"]):
        base, exam = smollm2(kind)
        given = {key: options[key] for key in ("rank", "alpha", "lr", "batch_size", "most_tokens")}
        found = language_model_run(base, exam, seed, steps=steps, **given)
        return found | {"bits": bits_per_parameter(base.model)}

    yield (
        "error of SmolLM2's block 15",
        lambda: error_entry(_linear_weights(smollm2()[0].model.model.layers[15]), **SETTINGS["error"]),
    )
    yield "values in 32 of SmolLM2's weights", lambda: most_values(_linear_weights(smollm2()[0].model), 32)
    for seed in SETTINGS["seeds"]:
        yield f"SmolLM2, seed {seed}", lambda seed=seed: run("NF4", seed)
    for kind in SETTINGS["kinds"]:
        yield f"SmolLM2, untrained, {kind}", lambda kind=kind: untrained(*smollm2(kind))
    for kind, steps in SETTINGS["trained"].items():
        for seed in SETTINGS["seeds"]:
            yield f"SmolLM2, {kind}, seed {seed}", lambda kind=kind, steps=steps, seed=seed: run(kind, seed, steps)


def _linear_weights(model):
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return [layer.weight.detach() for layer in layers if id(layer.weight) not in tables]


def main():
    """Do the runs that are lacking and write each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "quantized.json")
    parser.add_argument("--most", type=int, default=None, help="runs to do before ending")
    options = parser.parse_args()
    results, seconds = {}, 0.0
    if options.out.is_file():
        before = json.loads(options.out.read_text(encoding="utf-8"))
        if before["settings"] != SETTINGS:
            sys.exit(f"{options.out} was made with other settings. Move it away to begin anew.")
        results, seconds = before["results"], before["seconds"]
    lacking = [(name, run) for name, run in planned() if name not in results]
    for name, run in lacking[: options.most]:
        print(name, flush=True)
        started = time.perf_counter()
        results[name] = run()
        seconds += time.perf_counter() - started
        write_result(options.out, "quantized", SETTINGS, results, seconds, "nats a letter; marks; bits", flat=True)
    print(f"{max(0, len(lacking) - len(lacking[: options.most]))} runs are still to be done")


if __name__ == "__main__":
    main()
