"""What training in front of the learner takes: a slider's move that trains anew, and the thirty-six runs of Valleys.

    python tests/benchmarks/retraining.py [--times 3]

The first is `Angle`'s rank slider, from its new value to the picture of the new loss curve being on its way to the
page, always at a place where it has not been: each timed move is checked to have trained. Median with quartiles. The
second is `grow_valleys`, from its call to the last picture, with all drawing in between. Both in seconds, in a plain
process; what the browser adds, tests/benchmarks/browser.py measures.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lora_teach.live import explore
from lora_teach.pictures.angle.view import STEPS, Angle
from lora_teach.pictures.valleys.view import grow_valleys
from tests.benchmarks.slider import quartiles, trained


def retrained() -> list[float]:
    """Seconds of each move of the rank, under every alpha in turn."""
    explorer = explore(Angle())
    ranks, times = [rank for _, rank in explorer.controls["rank"].options], []
    start = explorer.values
    for alpha in explorer.limits()["alpha"]:
        if alpha == start["alpha"]:
            continue  # the still picture has runs there
        explorer.move(alpha=alpha, rank=start["rank"])  # this trains too, and is not timed
        for rank in ranks:
            if rank == start["rank"]:
                continue
            trained()
            started = time.perf_counter()
            explorer.move(rank=rank)
            times.append(time.perf_counter() - started)
            steps = trained()
            assert steps == STEPS, f"rank {rank}, alpha {alpha}: {steps} steps, not {STEPS}: this was no new place"
    return times


def grown() -> float:
    """Seconds until all runs of one rule have ended and are drawn."""
    started = time.perf_counter()
    sweep = asyncio.run(grow_valleys())
    taken = time.perf_counter() - started
    assert len(sweep) == sweep.planned == 36, f"{len(sweep)} of {sweep.planned} runs"
    return taken


def main() -> None:
    """Print a line for each of the two."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=3, help="how often Valleys is grown")
    options = parser.parse_args()
    moves = retrained()
    print(f"slider move to retrained curve ({STEPS} steps), {len(moves)} moves: {quartiles(moves, 3)} s", flush=True)
    times = [grown() for _ in range(options.times)]
    print(f"Valleys, 36 runs, {options.times} times: {', '.join(f'{taken:.1f}' for taken in times)} s")


if __name__ == "__main__":
    main()
