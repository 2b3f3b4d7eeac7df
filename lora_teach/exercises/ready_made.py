"""The pieces of the thread as the library makes them: what a notebook uses until the learner's own have passed.

They take what the exercises of notebooks 00, 02, 03, 04, 06 and 09 ask for. A path is a module's dotted name.
"""

from copy import deepcopy

from lora_teach.bases import sample_names
from lora_teach.layer import LoRALayer
from lora_teach.model import Hook, LoRAModel
from lora_teach.training import train

import torch
from torch import nn

__all__ = ["MyLayer", "adapt", "dial", "fit", "merge", "overlay", "save", "unmerge"]

MyLayer = LoRALayer


def dial(model, updates, strength, noise):
    """Return the names that a NameGPT writes with ``updates``, ``{path: (A, B)}``, added at this strength."""
    sizes = {A.shape[1] for A, _ in updates.values()}
    over = LoRAModel(deepcopy(model), rank=max(sizes), target_modules=list(updates))
    with torch.no_grad():
        for path, (A, B) in updates.items():
            over.lora_layers[path].lora_A.copy_(A)
            over.lora_layers[path].lora_B.copy_(B)
    over.set_adapter({"default": strength})
    return sample_names(over, noise)


class _Layers:
    """What a hook asks for its update, where no LoRAModel is."""

    def __init__(self, layers):
        self.layers, self.training = layers, False

    def updates_for(self, path):
        """Return one layer, at its full strength."""
        return None, [(1.0, self.layers[path])]


def overlay(model, layers):
    """Hook each layer of ``{path: layer}`` to its module; return the handles."""
    owner = _Layers(layers)
    return [model.get_submodule(path).register_forward_hook(Hook(owner, path), with_kwargs=True) for path in layers]


def adapt(model, rank, alpha, layer=LoRALayer):
    """Freeze a model and lay a layer over each linear layer that can be adapted; return ``{path: layer}``."""
    over = LoRAModel(model, rank=rank, alpha=alpha)
    for path, made in list(over.lora_layers.items()):
        if layer is not LoRALayer:
            over.lora_layers[path] = layer(made.in_features, made.out_features, rank, alpha)
    return dict(over.lora_layers.items())


class _Together(nn.Module):
    """A hooked model and its layers, as one module that can be trained."""

    def __init__(self, model, layers):
        super().__init__()
        self.model, self.layers = model, nn.ModuleList(layers.values())

    def forward(self, inputs):
        return self.model(inputs)


def fit(model, layers, batches, loss_fn, validation, lr, steps, every):
    """Train the layers of a hooked model, which is frozen, go back to the best validation loss and return it.

    Args:
        validation: One batch, ``(inputs, targets)``, looked at after every so many steps.
    """
    if isinstance(model, nn.Module):  # a function around one, frozen already, does as well
        model.requires_grad_(False)
    whole = _Together(model, layers)
    options = dict(lr=lr, steps=steps, validation=[validation], validate_every=every, progress=False)
    history = train(whole, batches, loss_fn, **options)
    return min(loss for _, loss in history.validation)


def merge(linear, layer):
    """Add a layer's update to a linear layer's weight, in place; return what `unmerge` needs."""
    backup = linear.weight.detach().clone()
    with torch.no_grad():
        linear.weight += layer.delta_weight()
    return backup


def unmerge(linear, backup):
    """Bring every bit of the weight back."""
    with torch.no_grad():
        linear.weight.copy_(backup)


def save(layers, folder):
    """Write ``{path: layer}``, all of one rank and scaling, as a folder that PEFT reads."""
    base = nn.Module()
    for path, layer in layers.items():
        *parents, name = path.split(".")
        place = base
        for parent in parents:
            if not hasattr(place, parent):
                place.add_module(parent, nn.Module())
            place = getattr(place, parent)
        (in_features, rank), out_features = layer.lora_A.shape, layer.lora_B.shape[1]
        place.add_module(name, nn.Linear(in_features, out_features))
    over = LoRAModel(base, rank=rank, alpha=layer.scaling * rank, target_modules=list(layers))
    for path, layer in layers.items():
        over.lora_layers[path].load_state_dict({"lora_A": layer.lora_A, "lora_B": layer.lora_B})
    over.save_adapter(folder)
