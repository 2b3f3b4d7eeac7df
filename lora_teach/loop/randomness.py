"""Random numbers of a run, isolated from the caller's."""

import torch


class IsolatedRandomness:
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
