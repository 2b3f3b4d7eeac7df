"""An entry of the Race: what was tried, which learning rate was taken, and what its runs came to."""

from math import sqrt

from data.make_race import enter
from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.results import load_result
from lora_teach.measure.tuning import FULL, trainable_copy, tune

import pytest

QUICK = {"steps": 8, "check_every": 4, "batch_size": 16}


@pytest.mark.parametrize(("rank", "rates", "best"), [(1, (1e-2, 1e-5), 1e-2), (FULL, (1e-5, 1e-3), 1e-3)])
def test_an_entry_tells_what_was_tried_and_the_mean_and_standard_deviation_of_its_runs(rank, rates, best):
    base, zulu = load_name_gpt(), names.load("Zulu")
    entry = enter(base, "Zulu", rank, rates, (0, 1, 2), **QUICK)
    assert entry["trainable"] == (5184 if rank else sum(parameter.numel() for parameter in base.parameters()))
    assert entry["lr"] == best and list(entry["tried"]) == [str(rate) for rate in rates]
    for rate, loss in entry["tried"].items():
        again = tune(trainable_copy(base, rank), "Zulu", lr=float(rate), **QUICK)
        assert loss == again.best_validation
    assert [(run["lr"], run["seed"], run["steps"]) for run in entry["runs"]] == [(best, s, [0, 4, 8]) for s in range(3)]
    losses = [run["test"] for run in entry["runs"]]
    average = sum(losses) / 3
    assert entry["test"] == pytest.approx(average) and average < evaluate(base, zulu.test)
    assert entry["spread"] == pytest.approx(sqrt(sum((loss - average) ** 2 for loss in losses) / 2), rel=1e-6)


def test_one_seed_has_no_spread():
    assert enter(load_name_gpt(), "Zulu", 1, (1e-2,), (0,), **QUICK | {"steps": 1})["spread"] == 0


def test_the_file_tells_the_same():
    race = load_result("race")
    settings = race["settings"]
    for result in race["results"].values():
        for name, entry in result["contenders"].items():
            rates = settings["learning_rates"]["full" if name == "full" else "LoRA"]
            assert list(entry["tried"]) == [str(rate) for rate in rates]
            assert entry["tried"][str(entry["lr"])] == min(entry["tried"].values())
            losses = [run["test"] for run in entry["runs"]]
            average = sum(losses) / len(losses)
            spread = sqrt(sum((loss - average) ** 2 for loss in losses) / (len(losses) - 1))
            assert entry["spread"] == pytest.approx(spread, abs=1e-4)
