"""Train the shipped language adapters: rank 4 on every linear layer of NameGPT, one for each language but English.

    python data/make_adapters.py [--out data/adapters] [--languages Finnish Zulu]          about 30 s a language

Learning rate and step are chosen on each language's validation names. Writes a folder a language in PEFT's format, and
results.json with the losses in nats a letter.
"""

import argparse
import json
from pathlib import Path

from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.tuning import best_learning_rate, trainable_copy, tune

import torch

RANK = 4
LEARNING_RATES = (5e-3, 1e-2, 2e-2)
BATCH_SIZE = 32
PASSES, AT_LEAST = 12, 300  # passes over the names; a small language gets at least this many steps
SEED = 0


def make(base, language, passes=PASSES, at_least=AT_LEAST):
    """Return the LoRAModel that does best on the validation names, and what to write down about it."""
    steps = max(at_least, passes * len(names.load(language).train) // BATCH_SIZE)
    tuned = {}

    def validation_loss(lr):
        model = trainable_copy(base, RANK, SEED)
        run = tune(model, language, lr=lr, steps=steps, batch_size=BATCH_SIZE, seed=SEED)
        tuned[lr] = run, model
        return run.best_validation

    best, _ = best_learning_rate(validation_loss, LEARNING_RATES)
    run, model = tuned[best]
    test = names.load(language).test
    return model, {
        "lr": run.lr,
        "step": run.best_step,
        "validation_loss": round(run.best_validation, 4),
        "test_loss": round(evaluate(model, test), 4),
        "base_test_loss": round(evaluate(base, test), 4),
    }


def main():
    """Train them all and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "adapters")
    parser.add_argument("--languages", nargs="+", choices=names.languages()[1:], default=names.languages()[1:])
    options = parser.parse_args()
    base = load_name_gpt()
    results = {
        "command": "python data/make_adapters.py",
        "rank": RANK,
        "learning_rates": LEARNING_RATES,
        "passes": PASSES,
        "batch_size": BATCH_SIZE,
        "seed": SEED,
        "torch": torch.__version__,
        "unit": "nats a letter",
        "languages": {},
    }
    for language in options.languages:
        model, figures = make(base, language)
        model.save_adapter(options.out / language.lower())
        results["languages"][language] = figures
        print(language, figures, flush=True)
    (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
