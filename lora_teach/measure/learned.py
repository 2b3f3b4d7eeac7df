"""A fine-tuned NameGPT's matrices: their updates, how two runs' directions overlap, and its intruders turned down.

The measures themselves are in ``spectrum``, ``subspace`` and ``intruders``; ``data/make_learned.py`` takes them of many
runs.
"""

import copy

from lora_teach.bases import evaluate
from lora_teach.measure.intruders import intruder_dimensions, intruder_part
from lora_teach.measure.subspace import similarity_map
from lora_teach.measure.truncate_update import block_matrices
from lora_teach.model import LoRAModel


def matrices(model):
    """Return ``{layer: weight}`` of the linear layers in NameGPT's blocks, with LoRA's update added, without gradients.

    Args:
        model: A NameGPT, or a LoRAModel around one with a single active adapter; it is left as it is.
    """
    overlay = isinstance(model, LoRAModel)
    found = block_matrices(model.base_model if overlay else model)
    found = {name.removesuffix(".weight"): weight.detach().clone() for name, weight in found.items()}
    if overlay:
        for name, layer in model.lora_layers.items():
            found[name] += layer.delta_weight().detach()
    return found


def updates(base, model):
    """Return ``{layer: ΔW}``, ``(out_features, in_features)`` each: what fine-tuning added to ``base``."""
    before = matrices(base)
    return {name: weight - before[name] for name, weight in matrices(model).items()}


def overlaps(first, second, most):
    """Return ``{layer: [φ(1, 1), φ(2, 2), …]}`` up to ``most`` directions, of two runs' ``{layer: matrix}``."""
    return {name: similarity_map(first[name], second[name], most, most).diagonal().tolist() for name in first}


class Shrinker:
    """A copy of a tuned NameGPT, or LoRAModel, whose intruders can be turned down and up, by one addition a layer.

    ``epsilon`` and ``k`` as `intruder_dimensions`; ``counts`` is ``{layer: number of intruders}``.
    """

    def __init__(self, base, tuned, epsilon, k):
        before, self._after = matrices(base), matrices(tuned)
        self._parts = {name: intruder_part(before[name], W1, epsilon, k) for name, W1 in self._after.items()}
        self.counts = {name: len(intruder_dimensions(before[name], W1, epsilon, k)) for name, W1 in self._after.items()}
        self._model = copy.deepcopy(base if isinstance(tuned, LoRAModel) else tuned).requires_grad_(False)
        self._weights = {name.removesuffix(".weight"): weight for name, weight in block_matrices(self._model).items()}

    def at(self, factor):
        """Return the model with its intruders' singular values times ``factor``; the next call changes it again."""
        for name, weight in self._weights.items():
            weight.copy_(self._after[name] + (factor - 1) * self._parts[name])
        return self._model

    def path(self, factors, *lists):
        """Return the losses on each list of names, in nats a letter, for every factor."""
        return [[evaluate(self.at(factor), names) for names in lists] for factor in factors]
