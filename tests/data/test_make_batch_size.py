"""Batch size: budgets, rates chosen on validation digits, and what is carried over."""

from statistics import mean

from data.make_batch_size import SETTINGS, contender, run, steps_of
from lora_teach.bases import load_digit_net
from lora_teach.datasets import digits
from lora_teach.measure.results import load_result

import pytest

SMALL = SETTINGS | {"batch_sizes": [16, 64], "examples": 640, "rates": [0.001, 0.01], "start": None, "seeds": [0, 1]}


def test_a_budget_is_of_examples_or_of_steps():
    assert [steps_of("equal examples", size) for size in (16, 64, 256)] == [800, 200, 50]
    assert [steps_of("equal steps", size) for size in (16, 64, 256)] == [200, 200, 200]


def test_an_entry_has_the_rate_that_is_best_and_the_one_of_batch_64_beside():
    base, split = load_digit_net(), digits.rotated(90)
    entries = contender(base, split, 4, "equal examples", SMALL)
    for size, steps in ((16, 40), (64, 10)):
        found = entries[str(size)]
        tried = {lr: run(base, split, 4, lr, size, steps, 0)[0] for lr in SMALL["rates"]}
        assert found["tried"] == {str(lr): pytest.approx(loss) for lr, loss in tried.items()}
        assert found["lr"] == min(tried, key=tried.get) and found["steps"] == steps
        assert found["test"] == pytest.approx([run(base, split, 4, found["lr"], size, steps, s)[1] for s in (0, 1)])
    usual = entries["64"]["lr"]
    assert entries["16"]["carried over"] == pytest.approx([run(base, split, 4, usual, 16, 40, s)[1] for s in (0, 1)])


def test_a_rate_that_blows_up_is_no_best():
    assert run(load_digit_net(), digits.rotated(90), None, 1e30, 16, 5, 0) == [float("inf")] * 2


def test_the_file_is_what_the_command_makes():
    result = load_result("batch_size")
    assert result["settings"] == SETTINGS
    for task in SETTINGS["tasks"]:
        for budget in SETTINGS["budgets"]:
            for entries in result["results"][task][budget].values():
                assert entries["64"]["test"] == entries["64"]["carried over"]
                for entry in entries.values():
                    assert entry["tried"][str(entry["lr"])] == min(entry["tried"].values()) and len(entry["test"]) == 3
                    assert mean(entry["test"]) > 0
