"""What each material of the playground brings to a run."""

import pytest
import torch

from lora_teach.bases import accuracy, evaluate, gumbel_noise, load_digit_net, load_name_gpt, sample_names
from lora_teach.config import LoRAConfig
from lora_teach.datasets import digits, names
from lora_teach.measure.judging import TEMPERATURE
from lora_teach.overlay.targets import choose
from lora_teach.pictures.playground.material import MATERIALS, SEED, DigitMaterial


def test_there_are_three_kinds_of_changed_digits_and_every_language_but_english():
    assert list(MATERIALS) == ["turned 30", "turned 90", "inverted", *names.languages()[1:]]
    splits = [digits.rotated(30), digits.rotated(90), digits.inverted()]
    for material, split in zip(MATERIALS.values(), splits, strict=False):
        assert torch.equal(material.split.train[0], split.train[0])


@pytest.mark.parametrize("name", MATERIALS)
def test_every_choice_of_layers_can_be_adapted(name):
    material = MATERIALS[name]
    for targets in material.layers.values():
        assert choose(material.base, LoRAConfig(rank=1, target_modules=targets)).adapted
    assert len(material.layers) == 4 and "all" in material.layers


@pytest.mark.parametrize("name", MATERIALS)
def test_eight_samples_of_the_base_are_shown_first(name):
    material = MATERIALS[name]
    assert len(material.before) == 8
    assert material.before == material.samples(material.base) == material.samples(material.base)


def test_digits_are_scored_and_shown_on_the_test_split():
    material, (x, y) = MATERIALS["turned 90"], digits.rotated(90).test
    assert material.start == accuracy(load_digit_net(), x, y)
    pixels, truth = material.shown
    assert torch.equal(pixels, x[:8]) and torch.equal(truth, y[:8])
    assert material.before == load_digit_net()(x[:8]).argmax(-1).tolist()
    assert material.tell(0.917) == "92%"


def test_names_are_scored_on_the_validation_split_and_written_with_the_dice_of_notebook_00():
    material = MATERIALS["Zulu"]
    assert material.start == pytest.approx(evaluate(load_name_gpt(), names.load("Zulu").validation), rel=1e-5)
    assert material.before == sample_names(load_name_gpt(), TEMPERATURE * gumbel_noise(8, SEED))
    assert material.tell(2.0372) == "2.04 nats"


@pytest.mark.parametrize("name", ["inverted", "Finnish"])
def test_batches_hold_training_data_in_an_order_of_the_seed(name):
    material = MATERIALS[name]
    first, again, other = (next(iter(material.batches(seed)))[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)
    if isinstance(material, DigitMaterial):
        rows = {tuple(row) for row in material.split.train[0].tolist()}
        assert all(tuple(row) in rows for row in first.tolist())
    else:
        train = set(material.split.train)
        assert set(names.decode(first[:, 1:])) <= train  # without the mark at the start
