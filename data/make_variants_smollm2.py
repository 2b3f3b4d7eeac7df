"""Run the variants on SmolLM2 and the task of notebook 07: at one learning rate for all, then each at its own.

    OMP_NUM_THREADS=1 python data/make_variants_smollm2.py [CONTENDER …] [--out FILE] [--most RUNS]

A contender's rate is searched with the first seed, by the loss on validation sentences; the others then run at it and
at the rate for all. Every run is written as soon as it is done, and a command that is given again goes on where the
last one stopped; with ``--most`` it does only so many runs.
"""

import argparse
import json
import time
from pathlib import Path

from lora_teach.bases.registry import TextBase, load_base
from lora_teach.datasets import appointments
from lora_teach.measure.random_update import with_random_updates
from lora_teach.measure.results import write_result
from lora_teach.measure.tuning import next_rate
from lora_teach.measure.variants import CONTENDERS, optimizer, ready
from lora_teach.pictures.answer_sheet import numbers as sheets
from lora_teach.training import training_steps
from lora_teach.utils.evaluating import evaluating

import torch

SETTINGS = {
    "seeds": [0, 1, 2],
    "shared_rate": 1e-3,
    "alpha_times": 2,  # each contender's alpha: notebook 07 trains rank 8 with alpha 16
    "learning_rates": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2],
    "start": {  # where the search begins
        "LoRA": 1e-3, "QLoRA": 1e-3, "LoRA r=64": 3e-3, "rsLoRA r=64": 1e-3, "LoRA+": 3e-4, "DoRA": 1e-3, "PiSSA": 3e-4
    },
    "steps": 20, "batch_size": 6, "validation": {"count": 24, "seed": 11}, "sentences": 24, "most_tokens": 64,
}  # fmt: skip
UNIT = "share of right answers"  # the losses: nats a token of the answer


def next_run(runs, start):
    """Return the ``(rate, seed)`` that a contender should run next, or None when it has run all.

    Args:
        runs: ``{rate: {seed: {"validation": loss}}}``, its runs so far, with rates and seeds as texts.
        start: Where the search begins in the grid of rates.
    """
    first, *others = SETTINGS["seeds"]
    tried = {float(lr): by_seed[str(first)]["validation"] for lr, by_seed in runs.items() if str(first) in by_seed}
    searched = next_rate(tried, SETTINGS["learning_rates"], start)
    if searched is not None:
        return searched, first
    wanted = [(SETTINGS["shared_rate"], first)]
    wanted += [(lr, seed) for seed in others for lr in (min(tried, key=tried.get), SETTINGS["shared_rate"])]
    return next(((lr, seed) for lr, seed in wanted if str(seed) not in runs.get(str(lr), {})), None)


@torch.no_grad()
def answer_loss(base, examples):
    """Return the mean loss on the answers' tokens, in nats."""
    total = count = 0
    with evaluating(base.model):
        for batch in base.batches(examples, 12, seed=0):
            tokens = (batch["labels"][:, 1:] >= 0).sum().item()
            total, count = total + base.model(**batch).loss.item() * tokens, count + tokens
    return total / count


def run(base, contender, lr, seed):
    """Train one contender; return its losses and its right answers, and at the rate for all its control's loss too."""
    began = time.perf_counter()
    alpha = SETTINGS["alpha_times"] * CONTENDERS[contender]["alpha"]
    model = ready(base.model, contender, seed, alpha=alpha)
    train = [appointments.example(one) for one in appointments.training()]
    batches = base.batches(train, SETTINGS["batch_size"], seed)
    given = {"lr": lr, "steps": SETTINGS["steps"], "seed": seed, "optimizer": optimizer(model, contender, lr)}
    losses = [step.loss for step in training_steps(model, batches, base.loss_fn, **given)]
    exam, validation = appointments.exam(SETTINGS["sentences"]), validation_examples()
    trained = TextBase(model.base_model, base.tokenizer)
    sheet = sheets.sit(trained, model, exam, most_tokens=SETTINGS["most_tokens"])
    control = {}
    if lr == SETTINGS["shared_rate"]:
        control["random"] = answer_loss(
            TextBase(with_random_updates(base.model, model, seed), base.tokenizer), validation
        )
    return control | {
        "loss": losses,
        "validation": answer_loss(trained, validation),
        "test": sheet.right() / len(exam),
        "right": {column: sheet.count(column) for column in sheets.COLUMNS},
        "trainable": model.count()[0],
        "seconds": round(time.perf_counter() - began),
    }


def validation_examples():
    """Return conversations with unseen names and cities, half of them in unseen patterns; none is in the exam."""
    exam = {one.sentence for one in appointments.exam(SETTINGS["sentences"])}
    held_out = appointments.exam(**SETTINGS["validation"])
    return [appointments.example(one) for one in held_out if one.sentence not in exam]


def kept(path):
    """Return what the file has already: ``results`` and ``seconds``."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"results": {}, "seconds": 0}


def main():
    """Do the runs that are lacking, the searches first, and write each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contenders", nargs="*", default=SETTINGS["start"], help="all if none is named")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "variants_smollm2.json")
    parser.add_argument("--most", type=int, default=None, help="runs to do before ending")
    given, done, base = parser.parse_args(), 0, None
    while given.most is None or done < given.most:
        results = kept(given.out)["results"]
        lacking = {name: next_run(results.get(name, {}), SETTINGS["start"][name]) for name in given.contenders}
        lacking = {name: wanted for name, wanted in lacking.items() if wanted}
        if not lacking:
            break
        base = base or load_base("smollm2")
        name = min(lacking, key=lambda one: (lacking[one][1], len(results.get(one, {}))))  # all of them by turns
        lr, seed = lacking[name]
        found = run(base, name, lr, seed)
        file = kept(given.out)  # read again: other contenders may have been running beside this one
        file["results"].setdefault(name, {}).setdefault(str(lr), {})[str(seed)] = found
        seconds = file["seconds"] + found["seconds"]
        write_result(given.out, "variants_smollm2", SETTINGS, file["results"], seconds, UNIT, flat=True)
        print(
            f"{name} at {lr:g}, seed {seed}: {found['validation']:.4f} {found['right']} {found['seconds']} s",
            flush=True,
        )
        done += 1


if __name__ == "__main__":
    main()
