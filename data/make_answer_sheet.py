"""Let SmolLM2 sit the exam of notebook 07: bare, with help in the prompt, and with an adapter as it trains.

    OMP_NUM_THREADS=1 python data/make_answer_sheet.py [--out FILE] [--most RUNS]        about half an hour on one core

Every run is written as soon as it is done, and a command that is given again goes on where the last one stopped; with
``--most`` it does only so many runs. A sheet is kept as its answers and, for each sentence, four marks such as "1101":
valid, where, when, who.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from lora_teach import LoRAModel
from lora_teach.bases.registry import load_base
from lora_teach.datasets import appointments, chats
from lora_teach.measure.counting import lora_parameters
from lora_teach.measure.results import write_result
from lora_teach.pictures.answer_sheet import numbers as sheets

import torch

ATTENTION, MLP = ["q_proj", "k_proj", "v_proj", "o_proj"], ["gate_proj", "up_proj", "down_proj"]
SETS = {"attention": ATTENTION, "MLP": MLP, "all linear": ATTENTION + MLP}
SETTINGS = {
    "sentences": 24, "rank": 8, "alpha": 16, "lr": 1e-3, "batch_size": 6, "steps": [0, 5, 10, 20, 40, 60],
    "capitals_steps": [20, 60], "layers_steps": [20, 40], "most_tokens": 64, "targets": SETS,
}  # fmt: skip
RULES = (
    'Answer with a JSON object on one line and nothing else. Its keys are "who" (the full name), "where" (the city) '
    'and "when" (the weekday as a number, Monday 1 to Sunday 7), in this order.\n'
)
FORM = (
    'Fill in this form from the sentence: {"who": "FULL NAME", "where": "CITY", "when": NUMBER}\n'
    "NUMBER is 1 for Monday, 2 for Tuesday, 3 for Wednesday, 4 for Thursday, 5 for Friday, 6 for Saturday, 7 for "
    "Sunday.\n"
    "Answer with the filled-in form alone.\n"
)
SEEDS = {"runs": (0, 1, 2), "capitals": (0,), "layers": (0, 1)}


def with_instructions(text):
    """Return the prompt that says how the answer should look."""
    return lambda appointment: [{"role": "user", "content": text + appointment.sentence}]


PROMPTS = {
    "bare": sheets.bare,
    "instructions": with_instructions(RULES),
    "a form": with_instructions(FORM),
    "four examples": sheets.with_examples(4),
    "seven examples": sheets.with_examples(7),
}


def kept(sheet):
    """Return a sheet as the file keeps it."""
    marks = ["".join(str(int(mark)) for mark in row) for row in sheet.marks]
    return {"marks": marks, "answers": list(sheet.answers), "seconds": round(sheet.seconds or 0.0, 1)}


def prompted(base, exam, name):
    """Return the base's sheet with one prompt, and how long that prompt is."""
    conversation = PROMPTS[name](exam[0])
    sheet = sheets.sit(base, base.model, exam, PROMPTS[name], most_tokens=SETTINGS["most_tokens"])
    return kept(sheet) | {"tokens": len(chats.prompt_ids(conversation, base.tokenizer)), "prompt": conversation}


def equal_ranks(model, sets, parameters):
    """Return for each set of target modules the rank that buys the nearest number of parameters to ``parameters``."""
    return {
        name: max(1, round(parameters / lora_parameters(model, 1, list(targets)))) for name, targets in sets.items()
    }


def trained(base, exam, at, seed, targets="all linear", capitals=False):
    """Train one adapter; return its losses and its sheets, ``{step: sheet}``."""
    goal = lora_count(base, SETS["all linear"], SETTINGS["rank"])
    rank = equal_ranks(base.model, SETS, goal)[targets]
    torch.manual_seed(seed)
    options = {"rank": rank, "alpha": rank * SETTINGS["alpha"] / SETTINGS["rank"], "target_modules": SETS[targets]}
    model, losses, found = LoRAModel(base.model, **options), [], {}
    try:
        run = {"lr": SETTINGS["lr"], "batch_size": SETTINGS["batch_size"], "seed": seed, "capitals": capitals}
        for piece in sheets.exam_steps(base, model, exam, max(at), at, **run):
            if isinstance(piece, sheets.Sheet):
                found[str(len(losses))] = kept(piece)
                print(f"  step {len(losses)}: {piece.right()} of {len(exam)}", flush=True)
            else:
                losses.append(piece.loss)
        return {"rank": rank, "alpha": options["alpha"], "trainable": model.count()[0], "loss": losses, "sheets": found}
    finally:
        model.remove()


def lora_count(base, targets, rank):
    """Return how many numbers a rank trains in these layers."""
    return sheets.lora_parameters(base.model, rank, targets)


def planned():
    """Yield each run as ``(group, name, function of base and exam)``, the most wanted first."""
    for name in PROMPTS:
        yield "prompts", name, lambda base, exam, name=name: prompted(base, exam, name)

    def run(at, **options):
        return lambda base, exam: trained(base, exam, at, **options)

    first, *others = SEEDS["runs"]
    yield "runs", f"seed {first}", run(SETTINGS["steps"], seed=first)
    for seed in SEEDS["capitals"]:
        yield "capitals", f"seed {seed}", run(SETTINGS["capitals_steps"], seed=seed, capitals=True)
    for seed in SEEDS["layers"]:
        for targets in ("attention", "MLP"):  # all linear are in "runs"
            yield "layers", f"{targets}, seed {seed}", run(SETTINGS["layers_steps"], seed=seed, targets=targets)
        if seed == first:
            for other in others:
                yield "runs", f"seed {other}", run(SETTINGS["steps"], seed=other)


def main():
    """Do the runs that are lacking and write each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "answer_sheet.json")
    parser.add_argument("--most", type=int, default=None, help="runs to do before ending")
    options = parser.parse_args()
    results, seconds = {}, 0.0
    if options.out.is_file():
        before = json.loads(options.out.read_text(encoding="utf-8"))
        if any(before["settings"].get(name) != value for name, value in SETTINGS.items()):
            sys.exit(f"{options.out} was made with other settings. Move it away to begin anew.")
        results, seconds = before["results"], before["seconds"]
    lacking = [(group, name, run) for group, name, run in planned() if name not in results.get(group, {})]
    base, exam = load_base("smollm2"), appointments.exam(SETTINGS["sentences"])
    program = sheets.grade_sheet(exam, [sheets.plain_program(one.sentence) for one in exam])
    results["program"] = kept(program) | {"seconds": 0.0}
    for group, name, run in lacking[: options.most]:
        print(f"{group}: {name}", flush=True)
        started = time.perf_counter()
        results.setdefault(group, {})[name] = run(base, exam)
        seconds += time.perf_counter() - started
        done = SETTINGS | {"seeds": [int(name.split()[-1]) for name in results.get("runs", {})]}
        write_result(options.out, "answer_sheet", done, results, seconds, unit="marks")
    print(f"{max(0, len(lacking) - len(lacking[: options.most]))} runs are still to be done")


if __name__ == "__main__":
    main()
