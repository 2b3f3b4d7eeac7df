"""Random subspaces: the rate is chosen on validation data, all seeds are reported, and the file is the command's."""

from data.make_subspace import SETTINGS, TASKS, digit_entry, entry, mover
from lora_teach.bases import accuracy, load_digit_net
from lora_teach.datasets import digits
from lora_teach.measure.random_subspace import RandomSubspace
from lora_teach.measure.results import load_result
from lora_teach.measure.retraining import train_digits
from lora_teach.measure.tuning import FULL, count_trainable


def test_the_rate_is_that_of_the_first_seeds_lowest_validation_loss():
    calls = []

    def run(lr, seed):
        calls.append((lr, seed))
        return abs(lr - 0.1), 10 * lr + seed

    found = entry(run, [0.01, 0.1, 1.0], None, [0, 1])
    assert found["lr"] == 0.1 and found["test"] == [1.0, 2.0] and found["tried"]["0.01"] == 0.1 - 0.01
    assert calls == [(0.01, 0), (0.1, 0), (1.0, 0), (0.1, 1)]


def test_a_digit_entry_is_what_training_by_hand_comes_to():
    split, base = TASKS["turned by 30°"]
    found = digit_entry(split, base, 16, [0.1], None, [3], steps=5)
    run = train_digits(RandomSubspace(load_digit_net(), 16, 3), digits.rotated(30), steps=5, seed=3, lr=0.1)
    assert found["test"] == [run.accuracy]
    assert found["tried"]["0.1"] == 1 - accuracy(run.model, *digits.rotated(30).validation)


def test_so_many_numbers_train():
    assert [count_trainable(mover(load_digit_net(), size, 0)) for size in (16, FULL)] == [16, 26_122]


def test_the_file_is_what_the_command_makes():
    result = load_result("subspace")
    assert result["settings"] == SETTINGS
    parts = result["results"]
    assert set(TASKS) | {"seconds"} == set(parts["digits"]) and {"Zulu", "seconds"} == set(parts["names"])
    for part in ("digits", "names"):
        for task in set(parts[part]) - {"seconds"}:
            by_size = parts[part][task]["by size"]
            assert list(by_size) == [*map(str, SETTINGS[part]["sizes"]), "full"]
            for found in by_size.values():
                assert len(found["test"]) == 3 and found["tried"][str(found["lr"])] == min(found["tried"].values())
