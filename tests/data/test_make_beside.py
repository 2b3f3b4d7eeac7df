"""What trains beside A and B: each contender moves what its name says and nothing else."""

from statistics import mean

from data.make_beside import BIASES, FULL, LORA, SCALING, SETTINGS, WEIGHTS, contender_entry, ready
from lora_teach.bases import accuracy, load_digit_net
from lora_teach.datasets import digits
from lora_teach.measure.results import load_result
from lora_teach.measure.retraining import retrain, train_digits

import pytest
import torch

TURNED = digits.rotated(30)


@pytest.mark.filterwarnings("ignore:.*of the base require gradients")
@pytest.mark.parametrize(
    ("contender", "ends"),
    [
        (LORA, "lora_A lora_B"),
        (SCALING, "lora_A lora_B scaling"),
        (BIASES, "bias lora_A lora_B"),
        (FULL, "bias weight"),
        (WEIGHTS, "weight"),
    ],
)
def test_each_contender_moves_what_its_name_says(contender, ends):
    base = load_digit_net()
    model = ready(base, contender, seed=0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    train_digits(model, TURNED, steps=3)
    moved = [name for name, parameter in model.named_parameters() if not parameter.equal(before[name])]
    assert sorted({name.rpartition(".")[2] for name in moved}) == ends.split()
    assert sum(name.endswith("bias") for name in moved) == 3 * ("bias" in ends)  # the output layer's too
    assert all(map(torch.equal, base.parameters(), load_digit_net().parameters()))


def test_an_entry_takes_the_rate_that_is_best_on_validation_digits_and_reports_test_digits():
    entry = contender_entry(load_digit_net(), TURNED, LORA, (1e-4, 1e-2), (0, 1), steps=20)
    runs = [retrain(TURNED, 8, lr=1e-2, alpha=8, seed=seed, steps=20) for seed in (0, 1)]
    assert entry["lr"] == 1e-2 and entry["test"] == [run.accuracy for run in runs]
    assert entry["tried"]["0.01"] == mean(accuracy(run.model, *TURNED.validation) for run in runs)


def test_the_learned_scalings_are_told():
    entry = contender_entry(load_digit_net(), TURNED, SCALING, (1e-2,), (0, 1), steps=20)
    assert [len(pair) for pair in entry["scalings"]] == [2, 2] and all(
        s != 1 for pair in entry["scalings"] for s in pair
    )


def test_the_file_is_what_the_command_makes():
    result = load_result("beside")
    assert result["settings"] == SETTINGS
    for task in result["results"].values():
        assert list(task) == SETTINGS["contenders"]
        for entry in task.values():
            assert entry["tried"][str(entry["lr"])] == max(entry["tried"].values()) and len(entry["test"]) == 3
            assert entry["mean"] == pytest.approx(mean(entry["test"]), abs=1e-4)
