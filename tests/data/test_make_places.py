"""Where to adapt: equally many numbers in each place, each at the rate that suits it."""

from statistics import mean, stdev

from data.make_places import SETTINGS, place_entry
from lora_teach import LoRAModel
from lora_teach.bases import NameGPT, evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.counting import lora_parameters
from lora_teach.measure.results import load_result
from lora_teach.measure.tuning import trainable_copy, tune

import pytest


def test_an_entry_takes_the_best_rate_and_reports_every_seed_on_test_names():
    base, quick = load_name_gpt(), {"steps": 8, "check_every": 4, "batch_size": 16}
    entry = place_entry(base, "Zulu", ["q_proj"], 2, (1e-5, 1e-2), (0, 1), **quick)
    assert (entry["rank"], entry["trainable"], entry["lr"]) == (2, 3 * 2 * 192, 1e-2)
    assert list(entry["tried"]) == ["1e-05", "0.01"]
    model = trainable_copy(base, 2, seed=1, target_modules=["q_proj"])
    run = tune(model, "Zulu", lr=1e-2, seed=1, **quick)
    assert entry["best_steps"][1] == run.best_step
    assert entry["test"][1] == evaluate(model, names.load("Zulu").test)
    assert entry["mean"] == pytest.approx(mean(entry["test"])) and entry["spread"] == pytest.approx(
        stdev(entry["test"])
    )


def test_the_three_places_have_equally_many_numbers_and_all_of_them_together_every_layer():
    counts = [lora_parameters(NameGPT(), rank, targets) for targets, rank in SETTINGS["places"].values()]
    assert max(counts) < 1.03 * min(counts)
    every = LoRAModel(NameGPT(), target_modules=SETTINGS["places"]["all linear"][0])
    assert list(every.lora_layers) == list(LoRAModel(NameGPT()).lora_layers)


def test_the_file_is_what_the_command_makes():
    result = load_result("places")
    assert result["settings"] == SETTINGS
    for (place, entry), (_, rank) in zip(result["results"].items(), SETTINGS["places"].values(), strict=True):
        assert entry["rank"] == rank and len(entry["test"]) == 3, place
        assert entry["tried"][str(entry["lr"])] == min(entry["tried"].values())
        assert entry["lr"] not in (min(SETTINGS["learning_rates"]), max(SETTINGS["learning_rates"]))  # between two
        assert entry["mean"] == pytest.approx(mean(entry["test"]), abs=1e-4)
        assert entry["spread"] == pytest.approx(stdev(entry["test"]), abs=1e-4)
