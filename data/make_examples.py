"""How many examples does it take? Adapters on 10 to 300 lines of data/dragons.jsonl, asked what they never saw.

    OMP_NUM_THREADS=1 python data/make_examples.py [--out data/examples.json]      15 minutes on a busy core

Each number has its own learning rate, chosen on validation names with the first seed; reported on test names, three
seeds. A seed draws the examples, A's start and the batches.
"""

import argparse
import time
from pathlib import Path

from lora_teach.bases.registry import load_base
from lora_teach.datasets.holding_out import hold_out
from lora_teach.measure.grading import grade, right
from lora_teach.measure.results import write_result
from lora_teach.measure.tuning import best_learning_rate
from lora_teach.pictures.how_many_examples.numbers import answers_after, distinct, drawn

SETTINGS = {
    "counts": [10, 30, 100, 300],
    "learning_rates": [0.003, 0.01, 0.03],
    "rank": 8,
    "steps": 100,
    "batch_size": 32,
    "seeds": [0, 1, 2],
    "shown": 12,
}


def make(base, parts, settings, say=print):
    """Return ``{"base": share right, "counts": {count: {"lr", "tried", "test", "shown"}}}``.

    Args:
        base: A NamesBase.
        parts: Training, validation and test examples, each without repetitions.
        settings: As SETTINGS.
    """
    training, validation, test = parts
    options = {key: settings[key] for key in ("rank", "steps", "batch_size")}
    counts = {}
    for count in settings["counts"]:

        def wrong(lr, count=count, seed=settings["seeds"][0]):
            return 1 - right(answers_after(base, drawn(training, count, seed), validation, lr=lr, seed=seed, **options))

        lr, tried = best_learning_rate(wrong, settings["learning_rates"])
        asked = [
            answers_after(base, drawn(training, count, seed), test, lr=lr, seed=seed, **options)
            for seed in settings["seeds"]
        ]
        counts[str(count)] = {
            "lr": lr,
            "tried": {str(rate): 1 - share for rate, share in tried.items()},
            "test": [right(graded) for graded in asked],
            "shown": asked[0][: settings["shown"]],
        }
        say(f"{count:4} examples  lr {lr:<6g}", *(f"{share:.2f}" for share in counts[str(count)]["test"]))
    return {"base": right(grade(base, base.model, test)), "asked": len(test), "counts": counts}


def main():
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "examples.json")
    out, begun, base = parser.parse_args().out, time.perf_counter(), load_base("names")
    examples = base.read(Path(__file__).parent / "dragons.jsonl")
    parts = [distinct(part, base.prompt_of) for part in hold_out(examples, base.prompt_of)]
    results = make(base, parts, SETTINGS, lambda *words: print(*words, flush=True))
    write_result(
        out, "examples", SETTINGS, results, time.perf_counter() - begun, unit="share of right answers", flat=True
    )


if __name__ == "__main__":
    main()
