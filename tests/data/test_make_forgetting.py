"""The order of the runs: each learning rate found once, each seed run once."""

from data.make_forgetting import RATES, START, next_run
from lora_teach.measure.tuning import next_rate
from lora_teach.pictures.forgetting.equal_learning import runs_of
from lora_teach.pictures.forgetting.numbers import CONTENDERS

import pytest


def search(valley):
    tried = {}
    while (rate := next_rate(tried, RATES, START)) is not None:
        tried[rate] = valley(rate)
    return min(tried, key=tried.get), len(tried)


@pytest.mark.parametrize("best", RATES)
def test_the_search_for_a_learning_rate_ends_at_the_bottom_with_both_neighbours_tried(best):
    at = RATES.index(best)
    found, count = search(lambda rate: abs(RATES.index(rate) - at))
    assert found == best and count <= len(RATES)
    assert search(lambda rate: abs(RATES.index(rate) - 2))[1] == 3


def test_runs_are_made_in_order_each_once_and_the_rates_beside_the_chosen_ones_last():
    known = {name: 1e-3 for name in CONTENDERS if name not in ("LoRA r=64", "full")}
    entry, order = {"lr": {}, "runs": {}}, []
    while (job := next_run(entry, (0, 1), known, beside=("full",))) is not None:
        order.append(job)
        assert len(order) < 30
        name, lr, seed = job
        entry["runs"].setdefault(name, []).append({"lr": lr, "seed": seed, "best_validation": abs(lr - 3e-3)})
    assert len(set(order)) == len(order)
    assert order[:4] == [("full", 1e-3, 0), ("full", 3e-3, 0), ("full", 1e-2, 0), ("full", 3e-3, 1)]
    assert order[4:7] == [("LoRA r=1", 1e-3, 0), ("LoRA r=1", 1e-3, 1), ("LoRA r=4", 1e-3, 0)]
    assert order[-4:] == [
        ("LoRA r=64", 1e-3, 0),
        ("LoRA r=64", 3e-3, 0),
        ("LoRA r=64", 1e-2, 0),
        ("LoRA r=64", 3e-3, 1),
    ]
    assert entry["lr"] == known | {"LoRA r=64": 3e-3, "full": 3e-3}
    assert {(name, seed) for name, lr, seed in order if lr == entry["lr"][name]} == {
        (name, seed) for name in CONTENDERS for seed in (0, 1)
    }
    assert [run["seed"] for run in runs_of(entry, "full")] == [0, 1]
    assert len(order) == 2 * 7 + 4  # two rates more for each of the searches; full's are those beside


def test_a_rate_beside_a_known_one_is_run_after_everything_else():
    entry = {"lr": {}, "runs": {}}
    known = dict.fromkeys(CONTENDERS, 1e-3)
    for name in CONTENDERS:
        entry["runs"][name] = [{"lr": 1e-3, "seed": 0, "best_validation": 2.0}]
    assert next_run(entry, (0,), known) is None
    assert next_run(entry, (0,), known, ("full",)) == ("full", 3e-4, 0)
