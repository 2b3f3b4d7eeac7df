"""What feeds the training loop: endless batches on the right device, and random numbers of the run's own."""

from collections.abc import Mapping

import torch


def endless(batches):
    """Yield batches for ever, starting over at each end."""
    seen = 0
    while True:
        before = seen
        for batch in batches:
            seen += 1
            yield batch
        if seen == before:
            cure = "Give a DataLoader or a list of batches"
            if seen:
                raise ValueError(f"the batches ran out after {seen} and cannot be iterated again. {cure}.")
            raise ValueError(f"there are no batches. {cure} with at least one.")


def to_device(batch, device):
    """Move every tensor of a batch (a tensor, or a mapping, tuple or list of batches) to ``device``."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):  # a namedtuple takes its fields one by one
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, tuple | list):
        return type(batch)(to_device(value, device) for value in batch)
    return batch


class OwnRandomness:
    """Random numbers of the run's own, kept apart from the caller's between the steps."""

    def __init__(self, seed, device):
        self.device = device if device.type == "cuda" else None
        with self:
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU
            if self.device is not None:
                with torch.cuda.device(self.device):
                    torch.cuda.manual_seed(seed)

    def __enter__(self):
        self.outside = self._get()
        if hasattr(self, "inside"):
            self._set(self.inside)

    def __exit__(self, *exception):
        self.inside = self._get()
        self._set(self.outside)

    def _get(self):
        return torch.get_rng_state(), torch.cuda.get_rng_state(self.device) if self.device else None

    def _set(self, state):
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], self.device)
