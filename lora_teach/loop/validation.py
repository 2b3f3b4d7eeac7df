"""Held-out batches, looked at while a run trains: the trained numbers of its best look are kept."""

import math

from lora_teach.loop.batches import loss_of, to_device
from lora_teach.loop.fingerprints import Digest
from lora_teach.loop.history import NonFiniteLoss
from lora_teach.loop.needed_logits import where_labels_count
from lora_teach.loop.randomness import IsolatedRandomness
from lora_teach.loop.rollback import copy_all
from lora_teach.loop.weights import counted
from lora_teach.utils.evaluating import evaluating
from lora_teach.utils.processes import agreed, in_shards_as, whole
from lora_teach.utils.validation import check_count

LOOKS = 10  # of a run, unless it is said otherwise


def losses(model, batches, loss_fn=None):
    """Return ``[(loss, targets that count), …]``, one a batch that has such a target; the model is left as it was.

    Args:
        model: A LoRAModel, or any module; it is looked at in evaluation mode.
        batches: As for `lora_teach.train`.
        loss_fn: As for `lora_teach.train`: a mean over the targets that count, in nats, usually.

    Raises:
        ValueError: No batch has a target that counts.
    """
    device, found = next(model.parameters()).device, []
    with evaluating(model):
        for batch in batches:
            count = counted(batch, loss_fn, model)
            if count:
                given = where_labels_count(model, to_device(batch, device), loss_fn)
                loss = loss_of(model, *given, to_learn=False)
                found.append((loss.item(), count))
    if not found:
        raise ValueError("there is no batch with a target that counts, so there is no loss. Hold out more examples.")
    return found


def mean_loss(model, batches, loss_fn=None):
    """Return the loss of ``model`` on ``batches``, a mean over all targets that count; see `losses`."""
    found = losses(model, batches, loss_fn)
    return sum(loss * count for loss, count in found) / sum(count for _, count in found)


class Validation:
    """What a run looks at every so many steps, and the numbers that were trained when its loss was lowest.

    A context manager around the run: whatever is trained has those numbers afterwards, however it ends.

    Args:
        batches: Held-out batches, or None for no look at all.
        every: Steps between two looks; None for a tenth of the run. The last step is always looked at.
        steps: Of the whole run.
        trained: Returns ``{name: tensor}`` of all that training moves.
    """

    def __init__(self, batches, every, steps, trained):
        if batches is None and every is not None:
            raise ValueError(f"validate_every={every} without validation. Give the held-out batches.")
        if hasattr(batches, "__next__"):
            raise ValueError("validation can be iterated only once. Give a DataLoader or a list of batches.")
        self.batches, self.steps, self.trained = batches, steps, trained
        self.every = math.ceil(steps / LOOKS) if every is None else check_count("validate_every", every)
        self.best = None  # (step, loss, the numbers trained)

    def settings(self):
        """Return what must be the same when the run is resumed."""
        if self.batches is None:
            return {}
        return {"validation": str(Digest().add(self.batches)), "validate_every": self.every}

    def look(self, model, loss_fn, step, rollback):
        """Return the held-out loss after ``step``, if it is one to look at, and keep what is the best so far.

        An error or an interruption undoes the step, by its Rollback.
        """
        if self.batches is None or (step % self.every and step != self.steps):
            return None
        try:
            # A DataLoader draws some random numbers.
            with IsolatedRandomness(0, next(model.parameters()).device), rollback.ctrl_c.let_in():
                loss = agreed(mean_loss(model, self.batches, loss_fn))
            if not math.isfinite(loss):
                why = "Try a lower learning rate, and look at the held-out examples."
                raise NonFiniteLoss(f"the validation loss is {loss} after step {step}. {why}", step)
        except BaseException:
            rollback.restore()
            raise
        if self.best is None or loss < self.best[1]:
            self.best = (step, loss, [value.detach().clone() for value in self.trained().values()])
        return loss

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.best is not None:
            copy_all(self.trained().values(), self.best[2])

    def get(self):
        """Return the best look as a checkpoint keeps it."""
        return self.best and (*self.best[:2], [whole(value) for value in self.best[2]])

    def put(self, saved):
        """Take a best look from a checkpoint."""
        self.best = saved and (*saved[:2], list(map(in_shards_as, saved[2], self.trained().values())))
