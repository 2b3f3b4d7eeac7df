"""Checkpoints of a run: a resumed run ends bit-identical to one that was never killed."""

from pathlib import Path

from lora_teach.loop.rollback import copy_all
from lora_teach.utils.atomic_write import replace_file

import torch


class Checkpoint:
    """The state of one run in ``folder``: trained parameters, optimiser, random numbers and the steps so far.

    Args:
        folder: Where the one file, ``checkpoint.pt``, is kept; it is made if it is not there. None keeps nothing.
        settings: What must be the same when the run is resumed, as plain numbers and strings.
        state: What the run changes, as `torch.save` takes it: ``{name: (get, put)}``, two functions each.
        every: Save after this many steps, and after the last.

    Raises:
        ValueError: The folder holds the checkpoint of a run with other settings, or a damaged file.
    """

    def __init__(self, folder, settings, state, every):
        self.file = None if folder is None else Path(folder) / "checkpoint.pt"
        self.settings = settings
        self.state = state
        self.every = every
        self.steps = []

    def restore(self):
        """Put the saved state back, if there is one, and return its steps as a list of tuples."""
        if self.file is None or not self.file.is_file():
            return []
        try:
            saved = torch.load(self.file, map_location="cpu", weights_only=True)  # tensors and numbers only, no code
            settings, self.steps = saved["settings"], saved["steps"]
        except Exception as error:
            raise ValueError(f"{self.file} is damaged ({error}). Delete it to start afresh.") from None
        for name, value in self.settings.items():
            if settings.get(name) != value:
                raise ValueError(
                    f"{self.file} is of a run with {name}={settings.get(name)!r}, and this one has {name}={value!r}. "
                    "Use the same, another folder, or delete the file to start afresh."
                )
        for name, (_, put) in self.state.items():
            put(saved[name])
        return list(self.steps)

    def add(self, step, last):
        """Note one step, a tuple; save after every ``every`` steps and after the last."""
        if self.file is None:
            return
        self.steps.append(step)
        if last or len(self.steps) % self.every == 0:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            saved = {name: get() for name, (get, _) in self.state.items()}
            saved |= {"settings": self.settings, "steps": self.steps}
            replace_file(self.file, lambda file: torch.save(saved, file))


def keep(folder, every, settings, model, parameters, optimizer, randomness):
    """Return the `Checkpoint` of a training run: all that a step changes.

    Args:
        folder: Where it is kept, or None.
        every: Steps between two savings.
        settings: What must be the same when the run is resumed; the parameters' shapes are added.
        model: The model, for the running statistics of its BatchNorms.
        parameters: Those that are trained.
        optimizer: Their optimiser.
        randomness: The IsolatedRandomness of the model's dropout.
    """
    moved = parameters + _running_statistics(model)
    state = {
        "moved": (lambda: [p.detach() for p in moved], lambda saved: copy_all(moved, saved)),
        "optimizer": (optimizer.state_dict, optimizer.load_state_dict),
        "random": (lambda: randomness.inside, lambda saved: setattr(randomness, "inside", saved)),
    }
    return Checkpoint(folder, settings | {"shapes": [list(p.shape) for p in parameters]}, state, every)


def _running_statistics(model):
    """List the buffers that training moves without gradients, such as BatchNorm's running mean."""
    modules = (m for m in model.modules() if getattr(m, "track_running_stats", False))
    return [buffer for module in modules for buffer in module.buffers(recurse=False)]
