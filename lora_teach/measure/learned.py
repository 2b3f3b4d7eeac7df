"""What did fine-tuning put into NameGPT's matrices? Spectra, subspaces, intruders and amplification of whole models.

``data/make_learned.py`` runs it in full, for full fine-tuning and for LoRA at several ranks; the results lie in
``data/learned.json``. The measures themselves are in ``spectrum``, ``subspace`` and ``intruders``.
"""

import copy

from lora_teach.bases import evaluate
from lora_teach.measure.intruders import amplification, intruder_dimensions, intruder_part, nearest_cosines
from lora_teach.measure.spectrum import effective_rank, energy_lost, spectrum
from lora_teach.measure.strength import strength_path
from lora_teach.measure.subspace import similarity_map
from lora_teach.measure.truncate_update import block_matrices
from lora_teach.model import LoRAModel

SHARE = 0.9  # of the squared entries, in "how many directions hold most of it"


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


def overlaps(first, second, most):
    """Return ``{layer: [φ(1, 1), φ(2, 2), …]}`` up to ``most`` directions, of two results of `input_directions`."""
    return {name: similarity_map(first[name], second[name], most, most).diagonal().tolist() for name in first}


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


class Shrinker:
    """A tuned model whose intruders can be turned down and up again.

    The singular value decompositions are done once; a change of the factor then costs one addition a layer.

    Args:
        base: The NameGPT that was tuned; it stays as it is.
        tuned: The tuned one, a NameGPT or a LoRAModel around one; it stays as it is, a copy is changed.
        epsilon: As `intruder_dimensions`.
        k: As there.

    Attributes:
        counts: ``{layer: number of intruders}``.
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
