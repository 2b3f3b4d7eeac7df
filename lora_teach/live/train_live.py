"""Training that stays alive on the page: the curve grows while the cell runs, and Stop ends it.

The steps are `lora_teach.training_steps`, one by one: watching changes nothing that is trained.
"""

import inspect

from lora_teach.live.watch import watch
from lora_teach.plots.loss_curve import LossCurve
from lora_teach.training import History, NonFiniteLoss, training_steps
from lora_teach.utils.validation import check_count


async def train_live(model, batches, loss_fn=None, *, title="Training", reference=None, **options):
    """Train as `lora_teach.train` does, with loss curve, progress, time left and a Stop button on the page.

    ``history = await train_live(…)`` in a cell. Stop, or the kernel's interrupt, ends the run after the step it is at;
    model and history are then as that step left them. What stays in the notebook is the curve and one sentence.

    Args:
        title: Stands over the curve.
        reference: Earlier runs to draw beside it, ``{"full fine-tuning": history}``.
        options: ``lr``, ``steps`` and whatever else `lora_teach.training_steps` takes.

    Returns:
        The history of the steps that were taken; ``stopped`` says so if they are fewer than planned.

    Raises:
        Exception: Whatever the steps raise, a loss that is not finite for one; the curve so far is shown first.
    """
    planned = options.get("steps", inspect.signature(training_steps).parameters["steps"].default)
    taken = training_steps(model, batches, loss_fn, **options)
    check_count("steps", planned)
    history = History()
    others = {label: getattr(run, "loss", run) for label, run in (reference or {}).items()}
    try:
        await watch(taken, history, planned, lambda: Curve(planned, title, others))
    except NonFiniteLoss as error:
        error.history = history
        history.stopped = f"not finite at step {error.step} of {planned}"
        raise
    if len(history) < planned:
        history.stopped = f"stopped after step {len(history)} of {planned}"
    return history


class Curve:
    """The loss curve of one run as `watch` moves it on; takes what `LossCurve` takes."""

    def __init__(self, *arguments):
        self.planned = arguments[0]
        self.losses = LossCurve(*arguments)
        self.picture = self.losses.picture

    def update(self, history):
        """Move the curve on."""
        self.losses.update(history.loss)

    def sentence(self, history):
        """Tell how far the run came and what became of the loss; nothing of the clock."""
        done = len(history)
        begun = f"{done} steps" if done == self.planned else f"Ended after {done} of {self.planned} steps"
        last = history.loss[-self.losses.window :]
        return (
            f"{begun}: the loss went from {history.loss[0]:.2f} to {sum(last) / len(last):.2f}"
            + (f", the mean of the last {len(last)} steps." if len(last) > 1 else ".")
        )  # fmt: skip
