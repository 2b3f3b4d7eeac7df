"""How the learning rate moves through a run: up while it warms up, then level or down to nothing."""

import math
import numbers

from lora_teach.utils.validation import check_choice, check_count

DECAYS = {  # share of the way from the warm-up to the end -> factor of the learning rate
    "constant": lambda share: 1.0,
    "linear": lambda share: 1.0 - share,
    "cosine": lambda share: (1.0 + math.cos(math.pi * share)) / 2,
}


def schedule_for(kind, steps, warmup=None):
    """Return a ``schedule`` for `lora_teach.train`: ``fraction of the run done -> factor of lr``.

    The rate rises in equal steps until the warm-up is over, from above zero, so that no step is lost, and falls after
    it so that the step after the last would have a rate of zero: what transformers' schedules of these names give, one
    step on.

    Args:
        kind: "constant", "linear" or "cosine".
        steps: Of the run.
        warmup: Share of the run in which the rate rises, from 0 up to, but not including, 1; None means 0 for
            "constant" and 0.1 for the others.

    Raises:
        TypeError, ValueError: An unknown kind, or a number out of its range.
    """
    decay = DECAYS[check_choice("schedule", kind, tuple(DECAYS))]
    steps = check_count("steps", steps)
    warmup = (0.0 if kind == "constant" else 0.1) if warmup is None else warmup
    if isinstance(warmup, bool) or not isinstance(warmup, numbers.Real):
        raise TypeError(f"warmup={warmup!r} is not a number. Use a share of the run, such as 0.1.")
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup={warmup} is outside [0, 1). Use a share of the run, such as 0.1, or 0 for none.")
    rising = round(warmup * steps)

    def schedule(fraction):
        step = round(fraction * steps)  # from 0
        if step < rising:
            return (step + 1) / (rising + 1)
        return decay((step - rising) / max(1, steps - rising))

    return schedule
