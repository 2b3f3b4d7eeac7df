"""A small run of the command: rates with one seed, reports with others, every weight of the penalty."""

from data.make_rewards import SETTINGS, run_all

import pytest

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning"
)  # 16 names and two updates: hardly anything to learn from


def test_each_contender_takes_its_best_rate_and_runs_each_seed_with_each_penalty():
    settings = SETTINGS | {
        "ranks": [1], "learning_rates": {"LoRA": [1e-2, 3e-2], "full": [1e-3]}, "seeds": [1], "updates": 2, "names": 16,
        "every": 2, "matched": 1e-6, "kl_weights": [0.0, 0.5], "supervised": {"ranks": [1], "steps": 2},
    }  # fmt: skip
    results = run_all(settings)
    entry = results["contenders"]["LoRA r=1"]
    assert set(entry["tried"]) == {"0.01", "0.03"} and entry["tried"][str(entry["lr"])] == max(entry["tried"].values())
    assert {weight: [run["seed"] for run in runs] for weight, runs in entry["runs"].items()} == {"0.0": [1], "0.5": [1]}
    assert {run["kl_weight"] for run in entry["runs"]["0.5"]} == {0.5}
    assert entry["runs"]["0.0"][0]["updates"] == [0, 2]
    assert results["supervised"]["LoRA r=1"][0]["lr"] == 0.01  # the Race's
    assert results["base"]["kl"] == 0
