"""Training that stays alive on the page: the curve grows while the cell runs, and Stop ends it.

The cell awaits, so the kernel can answer the Stop button and the sliders between two steps; threads would lose the
order of the cells. The steps are `lora_teach.training_steps`, one by one: watching changes nothing that is trained.
"""

import asyncio
import inspect
import time
from collections.abc import Mapping, Sequence

from lora_teach.checks import check_count
from lora_teach.live.kernel import sliders_answered
from lora_teach.live.monitor import Monitor
from lora_teach.plots.loss_curve import LossCurve
from lora_teach.training import History, NonFiniteLoss, training_steps

PAUSE = 0.05  # seconds between two looks at what the page has sent
TURNS = 20  # turns of the event loop a look takes: a message passes several hands on its way from socket to button


async def train_live(
    model,
    batches,
    loss_fn=None,
    *,
    title: str = "Training",
    reference: Mapping[str, History | Sequence[float]] | None = None,
    **options,
) -> History:
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
    history = History()
    check_count("steps", planned)
    looked = 0.0
    others = {label: getattr(run, "loss", run) for label, run in (reference or {}).items()}
    monitor = Monitor(planned, lambda: LossCurve(planned, title, others))
    try:
        with sliders_answered():
            for step in taken:
                history.add(step)
                if time.perf_counter() - looked > PAUSE:  # by the clock, not by the step: steps may take 1 ms or 1 s
                    monitor.draw_if_due(history)
                    for _ in range(TURNS):
                        await asyncio.sleep(0)
                    looked = time.perf_counter()
                if monitor.stopped:
                    break
    except NonFiniteLoss as error:
        error.history = history
        raise
    except (asyncio.CancelledError, KeyboardInterrupt):  # the kernel's interrupt: at an await, or inside a step
        task = asyncio.current_task()
        if hasattr(task, "uncancel"):  # Python 3.11 and later count the requests
            task.uncancel()
    finally:
        taken.close()
        monitor.finish(history)
    if len(history) < planned:
        history.stopped = f"stopped after step {len(history)} of {planned}"
    return history
