"""How many examples: the rate is chosen on validation names, and each seed is reported on test names."""

from data.make_examples import SETTINGS, make
from lora_teach.bases.registry import load_base
from lora_teach.measure.grading import right
from lora_teach.measure.results import load_result
from lora_teach.pictures.how_many_examples.numbers import answers_after, drawn

import pytest

PAIRS = [("emma", "nath"), ("otto", "noth"), ("grace", "nex"), ("oscar", "ath"), ("ruth", "uth"), ("peter", "ex")]


def test_an_entry_takes_the_best_rate_and_reports_every_seed():
    base, quick = load_base("names"), {"rank": 2, "steps": 6, "batch_size": 4}
    settings = quick | {"counts": [2], "learning_rates": [1e-5, 1e-2], "seeds": [0, 1], "shown": 1}
    parts = PAIRS[:3], PAIRS[:3], PAIRS[3:]
    results = make(base, parts, settings, say=lambda line, *more: None)
    entry = results["counts"]["2"]
    assert results["asked"] == 3 and list(entry["tried"]) == ["1e-05", "0.01"]
    assert entry["lr"] == max((1e-5, 1e-2), key=lambda lr: (entry["tried"][str(lr)], -lr))
    graded = answers_after(base, drawn(PAIRS[:3], 2, 1), PAIRS[3:], lr=entry["lr"], seed=1, **quick)
    assert entry["test"][1] == right(graded) and len(entry["shown"]) == 1


def test_the_file_is_what_the_command_makes():
    result = load_result("examples")
    assert result["settings"] == SETTINGS
    for count, entry in result["results"]["counts"].items():
        assert entry["tried"][str(entry["lr"])] == max(entry["tried"].values()), count
        assert len(entry["test"]) == 3 and len(entry["shown"]) == SETTINGS["shown"]
    assert list(result["results"]["counts"]) == [str(count) for count in SETTINGS["counts"]]
    assert result["results"]["base"] == pytest.approx(0)
