"""Work that stays alive on the page: a picture grows while the cell runs, and Stop ends it.

The cell awaits, so the kernel can answer the Stop button and the sliders between two pieces of work; threads would lose
the order of the cells.
"""

import asyncio
import time

from lora_teach.live.kernel import sliders_answered
from lora_teach.live.monitor import Monitor
from lora_teach.loop.interrupts import held_back

PAUSE = 0.05  # seconds between two looks at what the page has sent
TURNS = 20  # turns of the event loop a look takes: a message passes several hands on its way from socket to button


async def watch(work, gathered, planned, draw, unit="step"):
    """Do the work piece by piece and draw what has been gathered, five to eight times a second.

    ``gathered`` takes each piece by ``add`` and tells their number by ``len``. ``draw`` makes the drawing, which has a
    ``picture``, ``update(gathered)`` and ``sentence(gathered)``; it is made again at the end, so that what stays
    doesn't depend on the clock. Stop, or the kernel's interrupt, ends the work after the piece it is at. What the work
    raises is raised; what was gathered so far is shown first.
    """
    looked, piece = 0.0, None
    monitor = Monitor(planned, draw, unit)
    try:
        with sliders_answered():
            for piece in work:
                with held_back():
                    gathered.add(piece)
                    piece = None
                if time.perf_counter() - looked > PAUSE:  # by the clock: a piece may take 1 ms or 1 s
                    monitor.draw_if_due(gathered)
                    for _ in range(TURNS):
                        await asyncio.sleep(0)
                    looked = time.perf_counter()
                if monitor.stopped:
                    break
    except (asyncio.CancelledError, KeyboardInterrupt):  # the kernel's interrupt: at an await, or inside a piece
        if piece is not None:  # made, and not yet noted
            gathered.add(piece)
        task = asyncio.current_task()
        if hasattr(task, "uncancel"):  # Python 3.11 and later count the requests
            task.uncancel()
    finally:
        work.close()
        monitor.finish(gathered)
