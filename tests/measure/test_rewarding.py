"""What is told of a model that learned from a reward, counted another way."""

from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.rewarding import ENGLISH, looked_at, rewarded, run_path, sounds, supervised_path, where
from lora_teach.measure.tuning import trainable_copy
from tests.finished_updates import moved_at_random

import pytest
import torch


@pytest.fixture(scope="module")
def base():
    return load_name_gpt()


def test_the_judge_likes_what_surprises_its_language_less_than_english():
    reward = sounds()
    finnish, english = (names.Judge(names.load(language).train) for language in ("Finnish", "English"))
    for name in ("pekka", "brittany", "o", "kim"):
        assert reward(name) == (finnish.surprise(name) < english.surprise(name))
    liked = [sum(map(reward, names.load(language).test)) / len(names.load(language).test)
             for language in ("Finnish", "English")]  # fmt: skip
    assert liked[0] > 0.8 > 0.15 > liked[1]
    assert sounds("Zulu")("ayanda") and not sounds("Zulu")("kim")


def test_the_base_is_no_distance_from_itself_and_looks_are_the_same_each_time(base):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    look = looked_at(base, base, sounds(), count=20)
    assert torch.equal(torch.rand(1), expected)
    assert look["kl"] == 0 and look == looked_at(base, base, sounds(), count=20)
    assert look["language"] == pytest.approx(evaluate(base, names.load("Finnish").test), abs=1e-5)
    assert look["English"] == pytest.approx(evaluate(base, names.load("English").test[:ENGLISH]), abs=1e-5)


def test_a_look_tells_the_share_and_the_favourite_of_what_is_written(base):
    written = []

    def reward(name):
        written.append(name)
        return len(name) == 5

    look = looked_at(base, base, reward, count=30)
    assert look["success"] == sum(len(name) == 5 for name in written) / 30
    assert look["distinct"] == len(set(written)) / 30 and look["favourite"] in written


def test_the_divergence_is_an_unbiased_estimate(base):
    moved = moved_at_random(base)
    look = looked_at(moved, base, len, count=100)
    assert look["kl"] > 0.1
    draws = [looked_at(moved, base, len, count=100, seed=seed)["kl"] for seed in (2, 3)]
    assert look["kl"] == pytest.approx(sum(draws) / 2, rel=0.5)


@pytest.mark.parametrize("rank", [1, None])
def test_paths_have_an_entry_for_each_look_and_leave_the_base_alone(base, rank):
    before = [parameter.clone() for parameter in base.parameters()]
    path = run_path(base, rank, lr=1e-3, updates=1, count=32, every=1, seed=4)
    assert path["updates"] == [0, 1] and path["kl"][0] == 0 and path["kl"][1] != 0
    assert {len(path[key]) for key in ("success", "distinct", "kl", "language", "English", "favourite")} == {2}
    assert path["trainable"] == (5184 if rank else 342_720) and path["cpu_seconds"] > 0
    assert all(map(torch.equal, before, base.parameters()))


def test_rewarded_trains_on_what_the_model_writes_and_returns_both(base):
    seen = []
    model, rollouts = rewarded(
        base, 2, lr=1e-3, kl=0.1, updates=2, count=8, reward=len, watch=lambda update, *both: seen.append(update)
    )
    assert seen == [0, 1, 2] and len(rollouts.history) == 2 and model.lora_layers["blocks.0.mlp.up_proj"].rank == 2
    assert rollouts.kl == 0.1 and rollouts.history[0].reward == pytest.approx(rollouts.history[0].reward)


def test_learning_from_names_is_looked_at_in_the_same_way(base):
    path = supervised_path(base, 1, lr=1e-2, steps=10, every=10)
    assert path["updates"] == [0, 10] and path["language"][1] < path["language"][0] - 0.1
    first = looked_at(trainable_copy(base, 1), base, sounds())
    assert {key: path[key][0] for key in first} == first


def test_where_is_between_the_looks_at_the_first_crossing():
    path = {"kl": [0.0, 1.0, 3.0, 2.0, 5.0], "success": [0.0, 0.2, 0.4, 0.9, 1.0]}
    assert where(path, "kl", 2.0, "success") == pytest.approx(0.3)
    assert where(path, "kl", 3.0, "success") == pytest.approx(0.4)
    assert where(path, "kl", 6.0, "success") is None
