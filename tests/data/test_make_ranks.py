"""What rank buys: the choice of the rate is by validation digits, and data/ranks.json holds what the course says."""

from statistics import mean, stdev

from data.make_ranks import rank_entry, rank_results
from lora_teach.bases import accuracy, load_digit_net
from lora_teach.datasets import digits
from lora_teach.measure.results import load_result
from lora_teach.measure.retraining import retrain

import pytest

TURNED = digits.rotated(30)
RATES, SEEDS = (1e-4, 1e-2), (0, 1, 2)


@pytest.fixture(scope="module")
def result():
    return load_result("ranks")


def test_the_rate_is_chosen_on_validation_digits_and_all_seeds_are_reported_on_test_digits():
    options = {"steps": 20, "alpha": 8}
    entry = rank_entry(TURNED, 4, RATES, SEEDS, **options)
    runs = [retrain(TURNED, 4, lr=entry["lr"], seed=seed, **options) for seed in SEEDS]
    assert list(entry["tried"]) == [str(rate) for rate in RATES]
    best = max(entry["tried"].values())
    assert best == entry["tried"][str(entry["lr"])]
    assert best == mean(accuracy(run.model, *TURNED.validation) for run in runs[:2])
    assert entry["test"] == [run.accuracy for run in runs]
    assert entry["mean"] == mean(entry["test"]) and entry["spread"] == stdev(entry["test"])


def test_every_rank_runs_with_every_alpha_after_the_base_and_full_fine_tuning():
    came = list(rank_results({"turned": TURNED}, [1, 2], {8: [1e-2], 64: [3e-3]}, [1e-3], [0], steps=2))
    assert [(alpha, rank) for _, alpha, rank, _ in came] == [
        (None, None), ("full", None), (8, 1), (8, 2), (64, 1), (64, 2)
    ]  # fmt: skip
    assert came[0][3] == accuracy(load_digit_net(), *TURNED.test)
    assert [entry["lr"] for *_, entry in came[1:]] == [1e-3, 1e-2, 1e-2, 3e-3, 3e-3]
    assert came[4][3]["test"] == [retrain(TURNED, 1, lr=3e-3, alpha=64, steps=2).accuracy]


def test_the_file_is_complete_and_its_choices_are_the_best_on_validation_digits(result):
    settings, results = result["settings"], result["results"]
    assert list(results) == ["turned by 30°", "turned by 90°", "inverted"]
    for task in results.values():
        assert list(task["LoRA"]) == list(settings["alphas"]) == ["8", "512"]
        for by_rank in task["LoRA"].values():
            assert list(by_rank) == [str(rank) for rank in settings["ranks"]]
        for entry in [task["full"], *(entry for by_rank in task["LoRA"].values() for entry in by_rank.values())]:
            assert entry["tried"][str(entry["lr"])] == max(entry["tried"].values())
            assert len(entry["test"]) == len(settings["seeds"]) == 5
            assert entry["mean"] == pytest.approx(mean(entry["test"]), abs=1e-4)
            assert entry["spread"] == pytest.approx(stdev(entry["test"]), abs=1e-4)


def test_the_file_is_about_the_digits_and_the_base_of_the_course(result):
    base = load_digit_net()
    splits = {"turned by 30°": TURNED, "turned by 90°": digits.rotated(90), "inverted": digits.inverted()}
    for task, split in splits.items():
        assert result["results"][task]["base"] == pytest.approx(accuracy(base, *split.test), abs=1e-3)


@pytest.mark.rebuild
def test_it_can_be_made_again(result):
    entry, settings = result["results"]["turned by 30°"]["LoRA"]["8"]["4"], result["settings"]
    again = rank_entry(TURNED, 4, [entry["lr"]], settings["seeds"], steps=settings["steps"], alpha=8)
    assert again["mean"] == pytest.approx(entry["mean"], abs=0.02)
