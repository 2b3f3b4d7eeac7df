"""The variants of LoRA side by side: what each contender is, and one training of it, on digits or on names.

All have the same batches, the same number of steps and AdamW; a contender differs from plain LoRA in what its entry
says, and in nothing else. ``data/make_variants.py`` runs them in full.
"""

from lora_teach.measure.retraining import HIDDEN, STEPS, train_digits
from lora_teach.measure.tuning import trainable_copy, tune

import torch

RATIO = 16  # LoRA+: B's learning rate is so many times A's, what Hayou et al. 2024 call a good default
CONTENDERS = {  # LoRAConfig's options, and ``ratio``, that of B's learning rate to A's
    "LoRA": {"rank": 8, "alpha": 8},
    "LoRA+": {"rank": 8, "alpha": 8, "ratio": RATIO},
    "DoRA": {"rank": 7, "alpha": 7, "variant": "dora"},  # with its magnitudes it has as many numbers as LoRA's rank 8
    "LoRA r=64": {"rank": 64, "alpha": 8},
    "rsLoRA r=64": {"rank": 64, "alpha": 8, "scaling": "alpha/sqrt(r)"},
    "full": {},
}
BESIDE = {"rsLoRA r=64": "LoRA r=64"}  # the plain LoRA that a variant is compared with: "LoRA" for all others


def ready(base, contender, seed=0, **options):
    """Return a copy of ``base``, ready to be trained as this contender; ``options`` are further ones of LoRAConfig."""
    entry = {name: value for name, value in CONTENDERS[contender].items() if name != "ratio"}
    return trainable_copy(base, seed=seed, **entry, **(options if entry else {}))


def optimizer(model, contender, lr):
    """Return AdamW over what trains in ``model``: all of it at ``lr``, or B at the contender's ratio times that."""
    ratio, groups = CONTENDERS[contender].get("ratio", 1), {1: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(ratio if name.endswith("lora_B") else 1, []).append(parameter)
    groups = [{"params": parameters, "lr": times * lr} for times, parameters in groups.items()]
    return torch.optim.AdamW(groups, weight_decay=0.0, fused=True)


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
