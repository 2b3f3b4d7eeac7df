"""Names at any strength of an adapter, as fast as a slider asks for them."""

from lora_teach.bases import sample_names
from lora_teach.overlay.base import plain_copy
from lora_teach.overlay.nested_modules import walk
from lora_teach.utils.threads import one_thread

import torch


def write_names(model, adapter, strength, noise):
    """Return the names that a LoRAModel writes with one adapter, or None, which stays at this strength."""
    model.set_adapter(None if adapter is None else {adapter: strength})
    with one_thread():
        return sample_names(model, noise)


class Writer:
    """Writes as `write_names` does, in half the time: the update lies in the weights of a copy, made of a LoRAModel."""

    def __init__(self, model):
        self.plain = plain_copy(model.base_model).requires_grad_(False)
        self._weights = {
            path: (module.weight, module.weight.clone())
            for path, module in self.plain.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        self._updates = {
            adapter: {path: layer.delta_weight().detach() for path, layer in walk(layers)}  # (out, in) each
            for adapter, layers in model.adapters.items()
        }

    def write(self, adapter, strength, noise):
        """Return the names at this strength; adapter None means the base alone."""
        return self.mix({} if adapter is None else {adapter: strength}, noise)

    def mix(self, weights, noise):
        """Return the names of a mixture ``{adapter: weight}``, as ``set_adapter(weights)`` has it."""
        updates = [(self._updates[adapter], strength) for adapter, strength in weights.items()]
        with one_thread():
            for path, (weight, original) in self._weights.items():
                weight.copy_(original)
                for update, strength in updates:
                    if path in update:
                        weight.add_(update[path], alpha=strength)
            return sample_names(self.plain, noise)
