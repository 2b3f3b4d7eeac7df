"""New data arrives: an adapter has learnt Finnish names, and now there are Zulu ones too. What becomes of the Finnish?

    OMP_NUM_THREADS=1 python data/make_new_data.py [--out data/new_data.json]      25 minutes on a busy core

Three usual ways to go on, and one adapter on both lists. Then rehearsal: English names among the Zulu ones, in runs
that see as much Zulu as the others. Three seeds; losses on test names.
"""

import argparse
import time
from pathlib import Path

from lora_teach.bases import load_name_gpt
from lora_teach.measure.results import write_result
from lora_teach.pictures.new_data.numbers import WAYS, go_on, start_of
from lora_teach.pictures.rehearsal.numbers import rehearse

SETTINGS = {
    "old": "Finnish",
    "new": "Zulu",
    "base": "English",
    "rank": 4,
    "lr": 0.01,
    "steps": 120,
    "looks": 10,
    "batch_size": 32,
    "seeds": [0, 1, 2],
    "shares": [0.0, 0.1, 0.25, 0.5],
}


def make(settings, say=print):
    """Return ``{"start", "ways": {way: {"path": one [[old, new, base's], …] a seed}}, "rehearsal": {share: …}}``."""
    base = load_name_gpt()
    ways = {way: [] for way in WAYS}
    rehearsal = {share: [] for share in settings["shares"]}
    start = start_of(base, settings)
    for seed in settings["seeds"]:
        for way in WAYS:
            ways[way].append(go_on(base, way, seed, settings))
            say(f"seed {seed}  {way:32}", *(f"{loss:.2f}" for loss in ways[way][-1][-1]))
        for share in settings["shares"]:
            rehearsal[share].append(rehearse(base, share, seed, settings))
            say(f"seed {seed}  rehearsal {share:<21}", *(f"{loss:.2f}" for loss in rehearsal[share][-1]))
    return {"start": start, "ways": ways, "rehearsal": {str(share): runs for share, runs in rehearsal.items()}}


def main():
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "new_data.json")
    out, begun = parser.parse_args().out, time.perf_counter()
    results = make(SETTINGS, lambda *words: print(*words, flush=True))
    write_result(out, "new_data", SETTINGS, results, time.perf_counter() - begun, flat=True)


if __name__ == "__main__":
    main()
