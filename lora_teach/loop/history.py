"""What a run did: its steps, its history and the error that ends it."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One update: its index from 1, the batch's loss before it (nats, usually), the learning rate and its seconds."""

    index: int
    loss: float
    lr: float
    seconds: float


@dataclass
class History:
    """What a run did, one entry a step; ``stopped`` says why it ended early, or is None."""

    loss: list = field(default_factory=list)
    lr: list = field(default_factory=list)
    seconds: list = field(default_factory=list)
    stopped: str | None = None

    def add(self, step):
        """Append one step."""
        self.loss.append(step.loss)
        self.lr.append(step.lr)
        self.seconds.append(step.seconds)

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
