"""Run "learning against forgetting" in full: LoRA at four ranks, rsLoRA at two and full fine-tuning, on two languages.

    OMP_NUM_THREADS=1 python data/make_forgetting.py [--out data/forgetting.json] [--minutes 5]      about half an hour

Learning rate and checkpoint are chosen on validation names; reported on test names, three seeds. The file is written
after each run, and an unfinished one is carried on with; ``--minutes`` ends the command early.
"""

import argparse
import json
import time
from pathlib import Path

from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.results import load_result, write_result
from lora_teach.measure.tuning import next_rate
from lora_teach.pictures.forgetting.equal_learning import runs_of
from lora_teach.pictures.forgetting.numbers import CONTENDERS, LOOKS, STRENGTHS, forgetting_run

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)  # where a learning rate is looked for
START = 1e-3  # the first to be tried
SETTINGS = {
    "contenders": CONTENDERS,
    "rates": list(RATES),
    "seeds": [0, 1, 2],
    "strengths": list(STRENGTHS),
    "looks": list(LOOKS),
    "steps": {"Zulu": 400, "Icelandic": 800},  # the Race's
    "check_every": 10,
    "patience": 80,
    "batch_size": 32,
    "beside": {"Zulu": ["LoRA r=4", "LoRA r=16", "full"], "Icelandic": []},
}


def read(out: Path) -> tuple[dict, float]:
    """Return the results so far and the seconds that they took; of a finished or a different file, none."""
    if out.is_file():
        whole = json.loads(out.read_text(encoding="utf-8"))
        if whole["settings"] == SETTINGS and planned(whole["results"]):
            return whole["results"], whole["seconds"]
    base, old = load_name_gpt(), names.load("English").test
    start = lambda language: [evaluate(base, names.load(language).test), evaluate(base, old)]  # noqa: E731
    return {language: {"base": start(language), "lr": {}, "runs": {}} for language in SETTINGS["steps"]}, 0


def next_run(entry, seeds, known, beside=()):
    """Return ``(contender, learning rate, seed)`` of the run that is to be made next in one language, or None.

    One contender after the other, full fine-tuning first, then those with a known learning rate: its rate is chosen
    with the first seed, then it runs with the other seeds. Last come, with the first seed, the learning rates next to
    the chosen one for the contenders in ``beside``. The chosen rates are put into ``entry["lr"]``.

    Args:
        entry: ``{"lr": {contender: chosen}, "runs": {contender: [run, …]}}``, filled as the runs end.
        seeds: One run each at the chosen learning rate.
        known: ``{contender: learning rate}`` that was chosen before, by the Race.
        beside: Contenders that show what their learning rate does to forgetting.
    """
    for name in sorted(CONTENDERS, key=lambda name: (name != "full", name not in known)):
        if name in known:
            entry["lr"].setdefault(name, known[name])
        elif name not in entry["lr"]:
            tried = {run["lr"]: run["best_validation"] for run in entry["runs"].get(name, [])}
            rate = next_rate(tried, RATES, START)
            if rate is not None:
                return name, rate, seeds[0]
            entry["lr"][name] = min(tried, key=tried.get)
        for seed in seeds:
            if seed not in [run["seed"] for run in runs_of(entry, name)]:
                return name, entry["lr"][name], seed
    for name in beside:
        at = RATES.index(entry["lr"][name])
        for rate in (RATES[at - 1], RATES[min(at + 1, len(RATES) - 1)]):
            if not runs_of(entry, name, rate):
                return name, rate, seeds[0]
    return None


def planned(results):
    """Return ``(language, contender, learning rate, seed)`` of the run that is to be made next, or None."""
    for last in (False, True):  # the learning rates beside the chosen ones come after everything else
        for language in SETTINGS["steps"]:
            race = load_result("race")["results"][language]["contenders"]
            known = {name: entry["lr"] for name, entry in race.items()}
            beside = SETTINGS["beside"][language] if last else ()
            if run := next_run(results[language], SETTINGS["seeds"], known, beside):
                return language, *run
    return None


def main():
    """Run what is left and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "forgetting.json")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run after so many")
    options = parser.parse_args()
    base, begun = load_name_gpt(), time.perf_counter()
    results, before = read(options.out)
    tuning = {key: SETTINGS[key] for key in ("strengths", "looks", "check_every", "patience", "batch_size")}
    while (run := planned(results)) and time.perf_counter() - begun < 60 * options.minutes:
        language, name, lr, seed = run
        steps = SETTINGS["steps"][language]
        made = forgetting_run(base, language, CONTENDERS[name], lr=lr, seed=seed, steps=steps, **tuning)
        results[language]["runs"].setdefault(name, []).append(made)
        planned(results)  # puts down a learning rate that this run has decided
        seconds = before + time.perf_counter() - begun
        write_result(options.out, "forgetting", SETTINGS, results, seconds, flat=True)
        new, old = made["loss"]
        print(
            f"{seconds:5.0f} s  {language:10} {name:12} lr {lr:<7g} seed {seed}  best at {made['best_step']:3}", end=""
        )
        print(f"  {language} {new:.3f}  English {old:.3f}", flush=True)


if __name__ == "__main__":
    main()
