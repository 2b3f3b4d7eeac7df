"""Checks of notebook 02: count a layer, and the update as a weight."""

from lora_teach.exercises.check import check, compare
from lora_teach.layer import LoRALayer

import torch


@check
def check_count_layer(count_layer):
    """Check a function that counts the numbers in one LoRALayer."""
    for in_features, out_features, rank in ((96, 384, 4), (768, 768, 8), (10, 3, 1)):
        call = f"count_layer(in_features={in_features}, out_features={out_features}, rank={rank})"
        both = rank * (in_features + out_features)
        mistakes = [
            (rank * in_features, "That is A alone: B has rank * out_features numbers more."),
            (rank * out_features, "That is B alone: A has in_features * rank numbers more."),
            (both + out_features, "The bias belongs to the frozen layer: an adapter has none."),
            (rank * in_features * out_features, "A and B lie side by side: their sizes add up."),
            (in_features * out_features, "That is the frozen weight, which does not train."),
            (in_features * out_features + both, "The frozen weight does not train: count A and B alone."),
            (both + 1, "The scaling is a fixed number here: it does not train."),
        ]
        compare(count_layer(in_features, out_features, rank), both, call, mistakes)
    return "r · (in + out), for square layers and for others."


@check
def check_delta_weight(delta_weight):
    """Check a function that returns what to add to ``nn.Linear.weight`` in a LoRALayer's place."""
    for in_features, out_features in ((6, 6), (6, 4)):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            layer = LoRALayer(in_features, out_features, rank=2, alpha=6)
            layer.lora_B.normal_()
            A, B, scaling = layer.lora_A.detach(), layer.lora_B.detach(), layer.scaling
        call = f"delta_weight(A, B, scaling=3.0) with A {tuple(A.shape)} and B {tuple(B.shape)}"
        turned = (
            "nn.Linear keeps its weight as (out_features, in_features): turn A·B with .T. A square layer can't tell."
        )
        mistakes = [
            (scaling * A @ B, turned),
            ((A @ B).T, "The scaling is missing: forward multiplies by it too."),
            (A @ B, "The scaling is missing, and nn.Linear keeps its weight as (out_features, in_features)."),
            (scaling**2 * (A @ B).T, "The scaling came in twice."),
        ]
        compare(delta_weight(A, B, scaling), scaling * (A @ B).T, call, mistakes)
    return "x @ delta_weight.T is the layer's update, for square layers and for others."
