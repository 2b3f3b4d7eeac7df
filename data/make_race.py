"""Run the Race in full: LoRA at ranks 1, 4 and 16 against full fine-tuning, on three languages.

    OMP_NUM_THREADS=1 python data/make_race.py [--out data/race.json]          about 15 to 20 minutes on one core

Learning rate and checkpoint are chosen on validation names; reported on test names, three seeds.
"""

import argparse
import time
from pathlib import Path

from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.race import FULL, race
from lora_teach.measure.results import write_result

SETTINGS = {
    "ranks": [1, 4, 16, FULL],
    "learning_rates": {"LoRA": [1e-3, 3e-3, 1e-2, 3e-2], "full": [1e-4, 3e-4, 1e-3, 3e-3]},
    "seeds": [0, 1, 2],
    "check_every": 20,
    "patience": 80,
    "batch_size": 32,
}
STEPS = {"Finnish": 400, "Zulu": 400, "Icelandic": 800}


def main():
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "race.json")
    out = parser.parse_args().out
    start, base, results = time.perf_counter(), load_name_gpt(), {}
    for language, steps in STEPS.items():
        results[language] = {"base": evaluate(base, names.load(language).test), "contenders": {}}
        for rank in SETTINGS["ranks"]:
            ((name, entry),) = race(base, language, steps=steps, **SETTINGS | {"ranks": [rank]}).items()
            results[language]["contenders"][name] = entry
            best_steps = [run["best_step"] for run in entry["runs"]]
            print(f"{language:10} {name:10} lr {entry['lr']:<7} steps {best_steps}  ", end="")
            print(f"test {entry['test']:.3f} ± {entry['spread']:.3f}", flush=True)
    write_result(out, "race", SETTINGS | {"steps": STEPS}, results, time.perf_counter() - start)


if __name__ == "__main__":
    main()
