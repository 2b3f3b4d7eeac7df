"""Cut a finished fine-tuning down to rank r, or train at rank r from the start?

Three ways to have a model whose difference from something known has rank r in every adapted matrix:

- the tuned weights themselves, cut to rank r;
- the finished update (tuned minus pretrained weights), cut to rank r and added to the pretrained weights;
- LoRA, trained at rank r.

So that the three differ in nothing else, the fine-tuning here trains just the matrices that LoRA adapts: the weights of
the blocks' linear layers. ``data/make_cut_or_train.py`` runs it in full; the results lie in ``data/cut_or_train.json``.
"""

import copy
from statistics import mean

from lora_teach.bases import evaluate
from lora_teach.datasets import names
from lora_teach.measure.spectrum import truncate
from lora_teach.measure.tuning import trainable_copy, tune_best

import torch
from torch import nn


def block_matrices(model):
    """Return ``{name: parameter}`` of the weights of the linear layers in NameGPT's blocks: what LoRA adapts there."""
    layers = {
        f"blocks.{name}": module for name, module in model.blocks.named_modules() if isinstance(module, nn.Linear)
    }
    return {f"{name}.weight": module.weight for name, module in layers.items()}


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


@torch.no_grad()
def truncate_update(base, tuned, rank):
    """Return a copy of ``tuned`` whose block matrices are those of ``base`` plus their change cut to ``rank``."""
    model = copy.deepcopy(tuned)
    before = block_matrices(base)
    for name, weight in block_matrices(model).items():
        weight.copy_(before[name] + truncate(weight - before[name], rank))
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
