"""What notebook 08 says in words is so: the rooms, the dead units, the numbers in its sentences."""

from lora_teach.bases import load_name_gpt
from lora_teach.doctor import FAULTS
from lora_teach.doctor.report import SYMPTOMS
from lora_teach.pictures.broken_runs import new_run
from tests.notebooks.reading import ROOT, Lesson

import pytest
import torch


@pytest.fixture(scope="module")
def lesson():
    return Lesson(ROOT / "notebooks" / "08_when_it_goes_wrong.ipynb")


def test_every_finding_leads_to_a_heading_that_is_there(lesson):
    headings = {heading.text for heading in lesson.headings}
    assert {f"Room {number}: {symptom}" for number, symptom in enumerate(SYMPTOMS, 1)} <= headings
    for fault in FAULTS.values():
        notebook, _, heading = fault.notebook.partition(", ")
        assert notebook == lesson.name and heading in headings


def test_some_thirty_faults():
    assert 28 <= len(FAULTS) <= 34


def test_room_4_the_units_are_dead_and_all_outputs_are_the_same():
    run = new_run("lr 1")
    run.train()
    hidden = []
    run.model.base_model.hidden2.register_forward_pre_hook(lambda module, args: hidden.append(args[0]))
    output = run.model(run.batches[0][0])
    assert (hidden[0] == 0).all()
    assert output.std(dim=0).max() < 1e-5


def test_room_2_how_far_b_goes():
    run = new_run()
    run.train()
    sizes = [layer.lora_B.abs().mean().item() for layer in run.model.lora_layers.values()]
    assert all(0.05 < size < 0.2 for size in sizes)


def test_room_5_norms_and_biases_are_one_number_in_ninety():
    named = dict(load_name_gpt().named_parameters())
    chosen = sum(p.numel() for name, p in named.items() if "norm" in name or name.endswith("bias"))
    assert round(sum(p.numel() for p in named.values()) / chosen, -1) == 90


def test_zulu_names_have_seven_letters_on_average():
    from lora_teach.datasets import names

    zulu = names.load("Zulu").train
    assert round(sum(map(len, zulu)) / len(zulu)) == 7


def test_the_flat_runs_start_near_three_point_two():
    losses = new_run("alpha 0").train(50)
    assert abs(torch.tensor(losses).mean().item() - 3.2) < 0.1
