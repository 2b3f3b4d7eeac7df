"""Run "Cut or train" in full: cut the tuned weights, cut the finished update, or train at rank r, over ranks.

    OMP_NUM_THREADS=1 python data/make_cut_or_train.py [--out data/cut_or_train.json]      about 10 minutes on one core

Three ways to have a model whose difference from something known has rank r in every adapted matrix:

- the tuned weights themselves, cut to rank r;
- the finished update (tuned minus pretrained weights), cut to rank r and added to the pretrained weights;
- LoRA, trained at rank r.

So that the three differ in nothing else, the fine-tuning here trains just the matrices that LoRA adapts: the weights of
the blocks' linear layers. Learning rates and checkpoints are chosen on validation names; reported on test names, three
seeds.
"""

import argparse
import copy
import time
from pathlib import Path
from statistics import mean

from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.results import write_result
from lora_teach.measure.spectrum import truncate
from lora_teach.measure.truncate_update import block_matrices, truncate_update
from lora_teach.measure.tuning import trainable_copy, tune_best

import torch

SETTINGS = {
    "language": "Zulu",
    "ranks": [1, 2, 4, 8, 16, 32, 64, 96],
    "learning_rates": {"LoRA": [1e-3, 3e-3, 1e-2, 3e-2], "full": [1e-4, 3e-4, 1e-3, 3e-3]},
    "seeds": [0, 1, 2],
    "steps": 400,
    "check_every": 20,
    "patience": 80,
    "batch_size": 32,
}


def train_matrices_only(model):
    """Let the block matrices of ``model`` train and freeze everything else; return the model."""
    model.requires_grad_(False)
    for weight in block_matrices(model).values():
        weight.requires_grad_(True)
    return model


@torch.no_grad()
def cut_weights(tuned, rank):
    """Return a copy of ``tuned`` whose block matrices are cut to ``rank``."""
    model = copy.deepcopy(tuned)
    for weight in block_matrices(model).values():
        weight.copy_(truncate(weight, rank))
    return model


def cut_lines(base, tuned, ranks, held_out):
    """Return the losses on the names ``held_out`` in nats a letter, one a rank, for both ways of cutting."""
    return {
        "weights cut": [evaluate(cut_weights(tuned, rank), held_out) for rank in ranks],
        "update cut": [evaluate(truncate_update(base, tuned, rank), held_out) for rank in ranks],
    }


def cut_or_train(base, language, ranks, learning_rates, seeds, **options):
    """Run all three ways over ``ranks`` and return what came out.

    Args:
        base: A NameGPT, which stays as it is.
        language: The language that is new to it.
        ranks: Ranks from 1 to 96.
        learning_rates: ``{"LoRA": rates, "full": rates}``, "full" for the fine-tuning that is cut. Tried with the first
            seed, at every rank; the best on validation names runs with all seeds.
        seeds: Each gives one fine-tuning to cut, and one LoRA at each rank.
        **options: The other options of ``tune``, such as ``steps``.

    Returns:
        ``full`` (the loss of the uncut fine-tuning), ``lines`` (``{way: losses, one a rank}``, means over the seeds),
        ``by_seed`` (the same, one a seed) and ``lr`` (what was chosen: for "full" and for each rank).
        Losses are on test names, in nats a letter.
    """
    held_out = names.load(language).test
    _, whole = tune_best(
        lambda seed: train_matrices_only(trainable_copy(base)), language, learning_rates["full"], seeds, **options
    )
    by_seed = [cut_lines(base, tuned, ranks, held_out) | {"trained": []} for _, tuned in whole]
    chosen = {"full": whole[0][0].lr}
    for rank in ranks:
        _, trained = tune_best(
            lambda seed, rank=rank: trainable_copy(base, rank, seed), language, learning_rates["LoRA"], seeds, **options
        )
        chosen[str(rank)] = trained[0][0].lr
        for lines, (_, model) in zip(by_seed, trained, strict=True):
            lines["trained"].append(evaluate(model, held_out))
    lines = {way: [mean(losses) for losses in zip(*(one[way] for one in by_seed), strict=True)] for way in by_seed[0]}
    full = mean(evaluate(tuned, held_out) for _, tuned in whole)
    return {"full": full, "lines": lines, "by_seed": by_seed, "lr": chosen}


def main():
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "cut_or_train.json")
    out = parser.parse_args().out
    start, base = time.perf_counter(), load_name_gpt()
    results = {"base": evaluate(base, names.load(SETTINGS["language"]).test)}
    results |= cut_or_train(base, **SETTINGS)
    for line, losses in results["lines"].items():
        print(
            f"{line:12}", "  ".join(f"r{rank} {loss:.2f}" for rank, loss in zip(SETTINGS["ranks"], losses, strict=True))
        )
    write_result(out, "cut_or_train", SETTINGS, results, time.perf_counter() - start)


if __name__ == "__main__":
    main()
