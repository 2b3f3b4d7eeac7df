"""The variants of LoRA side by side: what each contender is, and one training of it, on digits or on names.

All have the same batches, the same number of steps and AdamW; a contender differs from plain LoRA in what its entry
says, and in nothing else. ``data/make_variants.py`` runs them in full.
"""

import copy

from lora_teach.bases.quantized import quantize_
from lora_teach.layers.loraplus import loraplus_groups
from lora_teach.measure.retraining import HIDDEN, STEPS, train_digits
from lora_teach.measure.tuning import trainable_copy, tune

import torch

RATIO = 16  # LoRA+: B's learning rate is so many times A's, what Hayou et al. 2024 call a good default
RANDOM_START, LARGE_ALPHA = "PiSSA, random directions", "LoRA α=512"  # controls, trained on digits alone
CONTENDERS = {  # LoRAConfig's options; and ``ratio``, B's rate over A's; ``bits``, of the base; ``start``, a control's
    "LoRA": {"rank": 8, "alpha": 8},
    LARGE_ALPHA: {"rank": 8, "alpha": 512},
    "QLoRA": {"rank": 8, "alpha": 8, "bits": 4},
    "LoRA r=64": {"rank": 64, "alpha": 8},
    "rsLoRA r=64": {"rank": 64, "alpha": 8, "scaling": "alpha/sqrt(r)"},
    "LoRA+": {"rank": 8, "alpha": 8, "ratio": RATIO},
    "DoRA": {"rank": 7, "alpha": 7, "variant": "dora"},  # with its magnitudes it has as many numbers as LoRA's rank 8
    "PiSSA": {"rank": 8, "alpha": 8, "variant": "pissa"},
    RANDOM_START: {"rank": 8, "alpha": 8, "variant": "pissa", "start": "random"},
    "full": {},
}
OWN = ("ratio", "bits", "start")  # what is no option of LoRAConfig
BESIDE = {"rsLoRA r=64": "LoRA r=64"}  # the plain LoRA that a variant is compared with: "LoRA" for all others


def ready(base, contender, seed=0, **options):
    """Return a copy of ``base``, ready to be trained as this contender; ``options`` are further ones of LoRAConfig."""
    given = CONTENDERS[contender]
    entry = {name: value for name, value in given.items() if name not in OWN}
    if "bits" in given:
        base = quantize_(copy.deepcopy(base), options.get("target_modules"))
    model = trainable_copy(base, seed=seed, **(entry | options if entry else {}))
    if "start" in given:
        turn_start(model, seed)
    return model


@torch.no_grad()
def turn_start(model, seed=0):
    """Let PiSSA's layers start in random directions, with the singular values that their weights' first ones have."""
    generator = torch.Generator().manual_seed(seed)
    for layer in model.lora_layers.values():
        weight = layer.weight()  # (out_features, in_features)
        U, _, Vt = torch.linalg.svd(torch.randn(weight.shape, generator=generator), full_matrices=False)
        root = (torch.linalg.svdvals(weight)[: layer.rank] / layer.scaling).sqrt()  # (rank,)
        for A in (layer.lora_A, layer.start_A):
            A.copy_((root[:, None] * Vt[: layer.rank]).T)  # (in_features, rank)
        for B in (layer.lora_B, layer.start_B):
            B.copy_((U[:, : layer.rank] * root).T)  # (rank, out_features)


def optimizer(model, contender, lr):
    """Return AdamW over what trains in ``model``: all of it at ``lr``, or B at the contender's ratio times that."""
    ratio = CONTENDERS[contender].get("ratio")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = loraplus_groups(model, lr, ratio) if ratio else trained
    return torch.optim.AdamW(groups, lr, weight_decay=0.0, fused=True)


def on_digits(contender, split, base, lr, *, seed=0, steps=STEPS):
    """Train one contender on these digits, on DigitNet's hidden layers, and return it as a `Retrained`."""
    model = ready(base, contender, seed, target_modules=HIDDEN)
    return train_digits(model, split, steps=steps, seed=seed, optimizer=optimizer(model, contender, lr))


def on_names(contender, language, base, lr, *, seed=0, **options):
    """Train one contender on a language's names; return a `Tuned` and the model, which is at its best checkpoint."""
    model = ready(base, contender, seed)
    return tune(model, language, lr=lr, seed=seed, optimizer=optimizer(model, contender, lr), **options), model


def verdict(ours, theirs):
    """Tell whether the seeds' results ``ours`` lie above ``theirs``: "ahead", "behind", or "level" if they overlap.

    >>> verdict([0.9, 0.92], [0.8, 0.85]), verdict([0.1, 0.2], [0.2, 0.3])
    ('ahead', 'level')
    """
    if min(ours) > max(theirs):
        return "ahead"
    return "behind" if max(ours) < min(theirs) else "level"
