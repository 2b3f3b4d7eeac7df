"""The map from laptop to cluster: predicted from shapes, measured where a run lies in data/."""

from lora_teach.measure.architectures import build, targets
from lora_teach.measure.predicted_memory import predict_peak
from lora_teach.measure.where_it_fits import MACHINES, STEPS, USABLE, WAYS, needs, smallest_machine

import pytest
import torch


def test_a_step_is_predicted_and_its_measured_run_is_found():
    found = needs("SmolLM2-135M", 8)
    assert list(found) == list(WAYS)
    model = build("SmolLM2-135M")
    assert found["full"].predicted == predict_peak(model, 8, 512, dtype=torch.bfloat16) / 1e9
    adapted = {"rank": 8, "target_modules": targets("SmolLM2-135M", "all linear")}
    assert found["LoRA"].predicted == predict_peak(model, 8, 512, dtype=torch.bfloat16, **adapted) / 1e9
    for need in found.values():
        assert need.measured == pytest.approx(need.predicted, rel=0.03)
    assert needs("SmolLM2-135M", 3)["LoRA"].measured is None


def test_the_smallest_machine_that_has_room():
    sizes = list(MACHINES.values())
    assert sizes == sorted(sizes)
    for (name, size), (after, _) in zip(list(MACHINES.items())[:-1], list(MACHINES.items())[1:], strict=True):
        assert smallest_machine(USABLE * size) == name and smallest_machine(size) == after
    assert smallest_machine(1e6) == "more than that"


def test_the_map_begins_with_measured_steps():
    assert STEPS[0][0] == "SmolLM2-135M" and STEPS[1] == ("Llama-3.2-1B", 1)
    assert all(need.measured for need in needs(*STEPS[1]).values())
