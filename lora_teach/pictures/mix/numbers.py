"""Two adapters over one base at once: what a mixture knows of each, and what else could be made of the two."""

from collections.abc import Iterable, Sequence

from lora_teach.bases import evaluate
from lora_teach.datasets.names import IGNORED, encode
from lora_teach.measure.strength import under_each
from lora_teach.model import LoRAModel
from lora_teach.overlay.base import plain_copy
from lora_teach.overlay.nested_modules import walk
from lora_teach.utils.evaluating import evaluating
from lora_teach.utils.threads import one_thread

import torch
import torch.nn.functional as F


def mixture_losses(model: LoRAModel, mixtures: Iterable, lists: Sequence[Sequence[str]]) -> list[tuple]:
    """Return the losses on each list of names for each of ``mixtures``, in nats a letter.

    Args:
        model: A LoRAModel around a NameGPT; what was active is active again afterwards.
        mixtures: What ``set_adapter`` takes: names, ``{name: weight}``, or None for the base.
        lists: Lists of names.
    """
    with one_thread():
        return under_each(model, mixtures, lambda model: tuple(evaluate(model, names) for names in lists))


def share_of_gain(loss: float, base: float, own: float) -> float:
    """Return how far ``loss`` has come from the base's (0) to that of the adapter made for it (1)."""
    return (base - loss) / (base - own)


def averaged_factors(model: LoRAModel, adapters: Sequence[str]) -> LoRAModel:
    """Return a new LoRAModel over a copy of the base whose A's and B's are the means of these adapters'.

    A usual mistake: the product of two means holds every A with every B. All adapters have one rank and one scaling.
    """
    mean = LoRAModel(plain_copy(model.base_model), model.configs[adapters[0]])
    with torch.no_grad():
        for path, layer in walk(mean.adapters["default"]):
            layers = [model.adapters[adapter][path] for adapter in adapters]
            layer.lora_A.copy_(torch.stack([one.lora_A for one in layers]).mean(0))  # (in_features, rank)
            layer.lora_B.copy_(torch.stack([one.lora_B for one in layers]).mean(0))  # (rank, out_features)
    return mean


def averaged_probabilities(model: LoRAModel, adapters: Sequence[str], names: Sequence[str]) -> float:
    """Return the loss on ``names`` of asking the adapters one after another and averaging what they think of a letter.

    As many runs of the model as there are adapters; what was active is active again afterwards.
    """
    inputs, targets = encode(names)
    with one_thread(), evaluating(model):  # each (batch, seq, vocabulary)
        probabilities = sum(under_each(model, adapters, lambda model: model(inputs).softmax(-1) / len(adapters)))
    return F.nll_loss(probabilities.log().flatten(0, 1), targets.flatten(), ignore_index=IGNORED).item()
