"""Models that moved from NameGPT, and the rank of what moved: for the tests of measures of finished updates."""

import copy

from data.make_cut_or_train import train_matrices_only
from lora_teach.measure.truncate_update import block_matrices
from lora_teach.measure.tuning import trainable_copy, tune

import torch

QUICK = {"steps": 8, "check_every": 4, "batch_size": 16}


def moved_at_random(base):
    """Return a NameGPT all of whose matrices moved a little at random."""
    model = copy.deepcopy(base)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in block_matrices(model).values():
            weight += 0.02 * torch.randn(weight.shape, generator=generator)
    return model


def tuned_matrices(base):
    """Return a NameGPT whose matrices alone learned Zulu names for a few steps."""
    model = train_matrices_only(trainable_copy(base))
    tune(model, "Zulu", lr=1e-3, **QUICK)
    return model


def rank(matrix):
    return int(torch.linalg.matrix_rank(matrix.double(), rtol=1e-4))
