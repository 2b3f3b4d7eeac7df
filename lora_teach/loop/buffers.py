"""Buffers that training moves without gradients, such as a BatchNorm's running statistics."""

from lora_teach.overlay.inspection import overlays

import torch


class Buffers:
    """Context manager around one step. A frozen base's buffers are afterwards as before; others move with the step.

    What a base's buffers learnt would be in no adapter file. The buffers of a module that is trained whole, and of an
    adapter's saved modules, are part of what is trained: an error inside the block undoes them. Only persistent ones
    count: the others are caches.
    """

    def __init__(self, model):
        frozen = {id(module) for overlay in overlays(model) for module in overlay.base_model.modules()}
        self._frozen, self._moving = [], {}
        for name, module in model.named_modules():
            for key in module._buffers.keys() - module._non_persistent_buffers_set:
                if module._buffers[key] is None:
                    continue
                if id(module) in frozen:
                    self._frozen.append(_Buffer(module, key))
                else:
                    self._moving[f"{name}.{key}".lstrip(".")] = _Buffer(module, key)

    @property
    def moving(self):
        """Return ``{name: buffer}`` of those that are trained."""
        return {name: buffer.now for name, buffer in self._moving.items()}

    def __enter__(self):
        for buffer in (*self._frozen, *self._moving.values()):
            buffer.remember()

    def __exit__(self, kind, error, traceback):
        for buffer in (*self._frozen, *(self._moving.values() if kind is not None else ())):
            buffer.put_back()


class _Buffer:
    """One buffer by its place, since a step may put another tensor there, with its value before the step."""

    def __init__(self, module, key):
        self.place, self.key, self.found = module._buffers, key, None

    @property
    def now(self):
        return self.place[self.key]

    def remember(self):
        if self._changed():
            self.found, self.value = self.now, self.now.detach().clone()

    def put_back(self):
        if self._changed():
            with torch.no_grad():
                self.place[self.key] = self.found.copy_(self.value)

    def _changed(self):  # by value: torch's batch_norm writes without counting up the tensor's version
        return self.now is not self.found or not torch.equal(self.now, self.value)
