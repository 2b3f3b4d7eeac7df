"""Turn a finished fine-tuning down, or up: what the new language gains and what English loses on the way.

Strength 0 is the base, 1 what was trained. ``data/make_turn_it_down.py`` runs it in full; the results lie in
``data/turn_it_down.json``.
"""

import copy

from lora_teach.bases import evaluate
from lora_teach.model import LoRAModel

import torch


@torch.no_grad()
def scaled_update(base, tuned, strength):
    """Return a model with the parameters ``base + strength · (tuned − base)``, for full fine-tuning."""
    model = copy.deepcopy(base)
    for parameter, end in zip(model.parameters(), tuned.parameters(), strict=True):
        parameter.lerp_(end, strength)
    return model


def under_each(model, mixtures, measure):
    """Return ``measure(model)`` under each of these, as ``set_adapter`` takes them; then the model is as found."""
    found, measured = model.active_adapters, []
    try:
        for mixture in mixtures:
            model.set_adapter(mixture)
            measured.append(measure(model))
    finally:
        model.set_adapter(found)
    return measured


def strength_path(model, strengths, new, old, base=None):
    """Return ``[(loss on the names new, loss on the names old), …]`` in nats a letter, one pair a strength.

    ``model`` is a LoRAModel with one active adapter, as it was found afterwards; or a fully tuned NameGPT, and then
    ``base`` is what it was tuned from.
    """

    def both(between):
        return evaluate(between, new), evaluate(between, old)

    if not isinstance(model, LoRAModel):
        return [both(scaled_update(base, model, strength)) for strength in strengths]
    (name,) = model.active_adapters
    return under_each(model, [{name: strength} for strength in strengths], both)
