"""What a run did: its steps, its history and the error that ends it."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One update: its index from 1, the batch's loss before it (nats, usually), the learning rate and its seconds.

    ``validation`` is the loss on the held-out batches after it, or None where the run did not look.
    """

    index: int
    loss: float
    lr: float
    seconds: float
    validation: float | None = None


@dataclass
class History:
    """What a run did, one entry a step; ``stopped`` says why it ended early, or is None.

    ``validation`` holds ``(step, loss)`` for each look at the held-out batches.
    """

    loss: list = field(default_factory=list)
    lr: list = field(default_factory=list)
    seconds: list = field(default_factory=list)
    stopped: str | None = None
    validation: list = field(default_factory=list)

    @property
    def best(self):
        """The step of the lowest validation loss, or None if there was no look."""
        return min(self.validation, key=lambda look: look[1])[0] if self.validation else None

    def add(self, step):
        """Append one step."""
        self.loss.append(step.loss)
        self.lr.append(step.lr)
        self.seconds.append(step.seconds)
        if step.validation is not None:
            self.validation.append((step.index, step.validation))

    def __len__(self):
        return len(self.loss)


class NonFiniteLoss(ArithmeticError):
    """A loss or an update was nan or inf. The parameters are back where all was finite; ``history`` tells the run."""

    def __init__(self, message, step):
        super().__init__(message)
        self.step = step
        self.history = History()

    def __reduce__(self):
        """Let it travel whole between processes: by default only the message would be handed over."""
        return type(self), (str(self), self.step), {"history": self.history}
