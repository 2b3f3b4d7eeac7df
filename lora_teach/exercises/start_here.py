"""The check of notebook 00: an adapter at any strength, added to the weights by hand and taken off again."""

from functools import lru_cache

from lora_teach.bases import gumbel_noise, load_language_adapter, load_name_gpt, sample_names
from lora_teach.exercises.check import attempt, cases, check, describe, expect
from lora_teach.measure.judging import TEMPERATURE

import torch

NAMES = 12
CASES = [("Finnish", 0.6, 2), ("Zulu", 1.0, 1), ("Finnish", 1.5, 3)]  # language, strength, seed
ENOUGH = NAMES - 2  # names that must be alike: where two letters are as likely, rounding decides


@check
def check_dial(dial):
    """Check ``dial(model, updates, strength, noise)``: the names at this strength, and the model as it was."""
    for language, strength, seed in cases(CASES):
        model, noise = load_name_gpt(), TEMPERATURE * gumbel_noise(NAMES, seed)
        before, flags = {name: tensor.clone() for name, tensor in model.state_dict().items()}, _flags(model)
        given = {"updates": updates_of(language), "strength": strength, "noise": noise}
        got = attempt(dial, ("model",), model=model, **given)
        names = list(got) if isinstance(got, (list, tuple)) else []
        expect(
            len(names) == NAMES and all(isinstance(name, str) for name in names),
            f"Return the {NAMES} names that sample_names(model, noise) writes; came: {describe(got)}",
        )
        if alike(names, written(language, strength, seed)) < ENOUGH:
            wrong = dict(_wrong(language, strength, seed))
            best = max(wrong, key=lambda said: alike(names, wrong[said]))
            why = f"\n  {best}" if alike(names, wrong[best]) >= ENOUGH else ""
            right = written(language, strength, seed)
            expect(False, f"came:     {' '.join(names[:4])} …\n  expected: {' '.join(right[:4])} …{why}")
        after = model.state_dict()
        expect(before.keys() == after.keys(), "The model has other parameters afterwards: change numbers in place.")
        expect(
            _flags(model) == flags,
            "The numbers alone may change meanwhile. Afterwards each weight is the nn.Parameter that it was, which an "
            "optimiser may hold, with the requires_grad that it had; and so are train() and eval().",
        )
        other = sum((after[name] != tensor).sum().item() for name, tensor in before.items())
        left = max(
            (after[f"{path}.weight"] - before[f"{path}.weight"] - strength * (A @ B).T).abs().max().item()
            for path, (A, B) in given["updates"].items()
        )
        expect(
            left > 1e-4,
            "The update is still in the weights. Put back a copy that was made with .clone(): another name for the "
            "same memory changes with it.",
        )
        expect(
            not other,
            f"{other:,} numbers of the model have other bits afterwards. Keep a copy of each weight before, with "
            ".clone(), and put it back: what is subtracted was rounded.",
        )
        expect(
            sample_names(model, noise) == written(language, 0.0, seed),
            "The numbers are back, and the model still writes other names: is a hook left on it?",
        )
    return "the names of three strengths, and the model is what it was, to the last bit."


def _flags(model):
    """Return which parameters there are, which of them train, and which modules are in training mode."""
    parameters = {name: (id(one), one.requires_grad) for name, one in model.named_parameters()}
    return parameters, [one.training for one in model.modules()]


def updates_of(language):
    """Return ``{module's path: (A, B)}`` of a shipped adapter, whose scaling is 1."""
    layers = load_language_adapter(load_name_gpt(), language).lora_layers
    return {path: (layer.lora_A.detach(), layer.lora_B.detach()) for path, layer in layers.items()}


def alike(names, others):
    """Count the names that are the same, place by place."""
    return sum(one == other for one, other in zip(names, others, strict=True))


@lru_cache
def written(language, strength, seed):
    """Return the names that the library writes."""
    model = load_language_adapter(load_name_gpt(), language)
    model.set_adapter({language: strength})
    return sample_names(model, TEMPERATURE * gumbel_noise(NAMES, seed))


def _wrong(language, strength, seed):
    """Yield pairs (what to say, the names of a usual mistake)."""
    for other, said in (
        (0.0, "These are the names of the model alone: has the weight been changed, in place, before it writes?"),
        (1.0, "These are the names at ×1: multiply the update by the strength."),
        (-strength, "The update was subtracted: add it."),
        (2 * strength, "The update is there twice: does the model begin as it was?"),
        (strength**2, "The strength is there twice. One of A and B, or their product, is multiplied by it."),
    ):
        if other != strength:
            yield said, written(language, other, seed)
    turned = load_name_gpt()
    with torch.no_grad():
        for path, (A, B) in updates_of(language).items():
            weight = turned.get_submodule(path).weight  # (out_features, in_features)
            weight += strength * (A @ B if weight.shape[0] == weight.shape[1] else (A @ B).T)
    noise = TEMPERATURE * gumbel_noise(NAMES, seed)
    yield "nn.Linear keeps its weight as (out_features, in_features): add (A @ B).T.", sample_names(turned, noise)
    first = load_name_gpt()
    with torch.no_grad():
        path, (A, B) = next(iter(updates_of(language).items()))
        first.get_submodule(path).weight += strength * (A @ B).T
    yield "Only one layer was changed: there is an update for each of the paths.", sample_names(first, noise)
