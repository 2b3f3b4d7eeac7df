"""How long calls take, compared fairly on a machine that does other things too."""

import statistics
import time

from lora_teach.utils.threads import one_thread


def take_turns(calls, *args, rounds=100, warm_up=5, clock=time.perf_counter):
    """Return ``{name: median milliseconds}`` of calls that take turns.

    In each round every call is made once, so that a slow moment of the machine meets them all; the median leaves out
    the worst of them. In one thread.

    Args:
        calls: ``{name: function}``.
        args: What each of them is called with.
        rounds: How often each is measured.
        warm_up: Rounds before that, which don't count.
        clock: Returns seconds.
    """
    taken = {name: [] for name in calls}
    with one_thread():
        for turn in range(warm_up + rounds):
            for name, call in calls.items():
                started = clock()
                call(*args)
                if turn >= warm_up:
                    taken[name].append(1000 * (clock() - started))
    return {name: statistics.median(times) for name, times in taken.items()}
