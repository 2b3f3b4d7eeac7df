"""Checkpoints of a run: a resumed run ends bit-identical to one that was never killed."""

from functools import partial
from pathlib import Path

from lora_teach.loop.claims import check_claim, claim, give_up
from lora_teach.loop.fingerprints import Digest
from lora_teach.loop.identity import DIGESTED, table
from lora_teach.loop.optimizer import Resumable
from lora_teach.loop.rollback import copy_all
from lora_teach.overlay.inspection import overlays
from lora_teach.utils.atomic_write import replace_file
from lora_teach.utils.processes import gathered, in_shards_as, is_writer, on_writer, own, whole
from lora_teach.utils.validation import check_count

import torch


class Checkpoint:
    """Context manager over the state of one run in ``folder``: what is trained, the optimiser, random numbers, steps.

    Within the block the folder is this run's alone, and ``done`` lists the steps that were kept, as tuples.

    Args:
        folder: Where the one file, ``checkpoint.pt``, is kept; it is made if it is not there. None keeps nothing.
        every: Save after this many steps, and after the last.
        belongs_to: Returns ``{what: value}`` of all that must be the same when the run is resumed.
        state: What the run changes, as `torch.save` takes it: ``{name: (get, put)}``, two functions each.
        settle: Called once the finished steps of a resumed run have been told.

    Raises:
        OSError: Nothing can be written there, or another process keeps a run there.
        ValueError: The folder holds the checkpoint of another run, or a damaged file.
    """

    def __init__(self, folder, every, belongs_to, state, settle):
        self.every = check_count("checkpoint_every", every)
        self.file = None if folder is None else Path(folder) / "checkpoint.pt"
        self.steps, self.state, self.settle, self._saved, self._batches = [], state, settle, None, Digest()
        if self.file is not None:
            on_writer(self._try_to_write)
            self.belongs_to = belongs_to()

    def __enter__(self):
        """Read what is kept, after checking that it is of this run; changes nothing but the folder's owner."""
        if self.file is not None:
            on_writer(lambda: claim(self.file.parent, self))
            try:
                self._saved = on_writer(self._read)  # in all processes, who need not see the same disk
            except BaseException:
                self.__exit__()
                raise
            self.steps = list(self._saved["steps"]) if self._saved else []
        self.done = list(self.steps)
        return self

    def __exit__(self, *exception):
        if self.file is not None and is_writer():
            give_up(self.file.parent, self)

    def _read(self):
        """Return what is kept, or None if nothing is."""
        if not self.file.is_file():
            return None
        try:
            saved = torch.load(self.file, map_location="cpu", weights_only=True)  # tensors and numbers only, no code
            digest = saved.pop("digest")
            belongs_to, _ = saved["belongs_to"], saved["steps"]
        except Exception as error:
            raise ValueError(f"{self.file} is damaged ({error!r}). Delete it to start afresh.") from None
        if digest != str(Digest().add(saved)):
            raise ValueError(f"{self.file} is damaged: a bit or more was changed since. Delete it to start afresh.")
        for name in sorted({**self.belongs_to, **belongs_to}, key=DIGESTED.__contains__):  # what reads best comes first
            was, now = belongs_to.get(name), self.belongs_to.get(name)
            if was != now:
                raise ValueError(
                    f"{self.file} is of a run with {name}={was!r}, and this one has {name}={now!r}. "
                    "Use the same, another folder, or delete the file to start afresh."
                )
        if self.state.keys() - saved.keys():
            raise ValueError(f"{self.file} is damaged: a part of it is missing. Delete it to start afresh.")
        return saved

    def saw(self, batch):
        """Note a batch; returns it."""
        if self.file is not None:
            self._batches.add(batch)
        return batch

    def put(self):
        """Put the state that was read back, once `saw` has had the batches of its steps: they must be the same."""
        if self._saved is None:
            return
        if self._saved["batches"] != str(self._batches):
            raise ValueError(
                f"{self.file} is of a run with other data: its {len(self.steps)} batches were not these. "
                "Use the same, another folder, or delete the file to start afresh."
            )
        for name, (_, put) in self.state.items():
            put(self._saved[name])
        self._saved = None

    def add(self, step, last):
        """Note one step, a tuple; save after every ``every`` steps and after the last."""
        if self.file is None:
            return
        self.steps.append(step)
        if last or len(self.steps) % self.every == 0:
            saved = {name: get() for name, (get, _) in self.state.items()}
            saved |= {"belongs_to": self.belongs_to, "steps": self.steps, "batches": str(self._batches)}
            if is_writer():
                check_claim(self.file.parent, self)
                saved["digest"] = str(Digest().add(saved))
                self._write(saved)

    def _write(self, saved):
        def write(file):
            with file.open("wb") as opened:  # by Python, which says why it failed, as torch's own writing doesn't
                torch.save(saved, opened)

        try:
            replace_file(self.file, write)
        except (OSError, RuntimeError) as error:
            why = error if isinstance(error, OSError) else error.__context__
            if not isinstance(why, OSError):
                raise
            raise OSError(f"{self.file} can't be written: {why}. Make room, or use another folder.") from error

    def _try_to_write(self):
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            if self.file.is_dir():
                raise IsADirectoryError(f"{self.file} is a folder")
            replace_file(self.file.with_name(f".{self.file.name}-tried"), lambda file: file.write_bytes(b"tried"))
            self.file.with_name(f".{self.file.name}-tried").unlink()
        except OSError as error:
            raise OSError(f"checkpoint={str(self.file.parent)!r} can't be written: {error}. Use another.") from error


def _frozen(model):
    """Return ``{name: parameter}`` of what the active adapters hold and don't train, such as LoRA-FA's A."""
    return {
        f"adapters.{adapter}.{name} (frozen)": parameter
        for overlay in overlays(model)
        for adapter in overlay.active_adapters
        for name, parameter in overlay.adapters[adapter].named_parameters()
        if not parameter.requires_grad
    }


def keep(folder, every, settings, model, named, buffers, optimizer, given, batches, randomness, validation):
    """Return the `Checkpoint` of a training run: all that a step changes.

    Args:
        folder: Where it is kept, or None.
        every: Steps between two savings.
        settings: The loop's own that must be the same when the run is resumed.
        model: The model.
        named: ``{name: parameter}`` of those that are trained.
        buffers: The model's `Buffers`.
        optimizer: The optimiser.
        given: The same if it is the user's own, or None.
        batches: The data.
        randomness: The IsolatedRandomness of the model's dropout.
        validation: The run's `Validation`.
    """
    resumable = Resumable(optimizer)

    def trained():
        return validation.trained() | _frozen(model)

    state = {
        "optimizer": (resumable.get, resumable.put),  # first: it refuses what it can't take
        "trained": (
            lambda: [whole(value.detach()) for value in trained().values()],
            lambda saved: copy_all(trained().values(), map(in_shards_as, saved, trained().values())),
        ),
        "random": (lambda: gathered(randomness.inside), lambda saved: setattr(randomness, "inside", own(saved))),
    }
    if validation.batches is not None:
        state["best"] = (validation.get, validation.put)
    belongs_to = partial(table, settings | validation.settings(), model, trained, given, batches)
    return Checkpoint(folder, every, belongs_to, state, resumable.settle)
