"""What is told of each run in ``data/learned.json``: counted another way on the Zulu adapter and on made-up updates."""

import copy

from data.make_learned import directions_for, input_directions, matched_strength, portrait, spectra
from lora_teach.bases import evaluate, load_language_adapter, load_name_gpt
from lora_teach.datasets import names
from lora_teach.datasets.shipped import DATA
from lora_teach.measure import amplification, intruder_dimensions, subspace_similarity
from lora_teach.measure.learned import matrices, overlaps
from lora_teach.peft_format.xray import xray
from tests.finished_updates import moved_at_random

import pytest
import torch

SOME = names.load("English").test[:40]


@pytest.fixture(scope="module")
def base():
    return load_name_gpt()


@pytest.fixture(scope="module")
def zulu():
    return load_language_adapter(load_name_gpt(), "Zulu")


@pytest.fixture(scope="module")
def moved(base):
    return moved_at_random(base)


def test_spectra_and_effective_ranks_are_those_of_the_x_ray(base, zulu):
    found, seen = spectra(base, zulu, 4), portrait(base, zulu, [0.5], 10)
    for layer in xray(DATA / "adapters" / "zulu", base).layers:
        place = list(found).index(layer.name)
        assert found[layer.name] == pytest.approx(layer.singular_values, rel=1e-4)
        assert seen["effective_rank"][place] == pytest.approx(layer.effective_rank, rel=1e-3)
        assert seen["relative"][place] == pytest.approx(layer.relative, rel=1e-4)


def test_a_portrait_has_what_the_measures_say_of_each_layer(base, moved):
    seen = portrait(base, moved, [0.4, 0.9], 5, rank=3)
    before, after = matrices(base), matrices(moved)
    for place, name in enumerate(after):
        W0, W1 = before[name], after[name]
        for epsilon in (0.4, 0.9):
            assert seen["intruders"][str(epsilon)][place] == len(intruder_dimensions(W0, W1, epsilon, 5))
        factor = amplification(W0, W1 - W0, 3)
        assert seen["amplification"][place] == pytest.approx(factor.factor)
        assert seen["directions"][place] == directions_for(W1 - W0)
        between = factor.along_random + seen["emphasis"][place] * (factor.along_own - factor.along_random)
        assert between == pytest.approx(factor.along_update, rel=1e-5)


@pytest.mark.parametrize(
    ("sigma", "count"), [([1, 1, 1, 1], 4), ([3, 1, 0, 0], 1), ([3, 1.1, 0, 0], 2), ([1, 0, 0, 0], 1)]
)
def test_directions_are_counted_until_they_hold_90_percent(sigma, count):
    assert directions_for(torch.diag(torch.tensor(sigma, dtype=torch.float64))) == count


def test_the_directions_of_the_input_are_the_same_from_the_factor_and_from_the_update(base, zulu):
    plain = copy.deepcopy(zulu)
    merged = plain.remove(merge=True)
    overlay, tuned = input_directions(zulu), input_directions(merged, base)
    for name, A in overlay.items():
        assert subspace_similarity(A, tuned[name], 4, 4) == pytest.approx(1, abs=1e-4)
    own = overlaps(overlay, overlay, 3)
    assert len(own) == 18 and all(phi == pytest.approx([1, 1, 1], abs=1e-5) for phi in own.values())


def test_the_matched_strength_is_the_lowest_that_keeps_the_loss(base, zulu):
    new, old = names.load("Zulu").test[:60], SOME
    zulu.set_adapter({"Zulu": 0.7})
    target = evaluate(zulu, new)
    zulu.set_adapter({"Zulu": 0.6})
    assert evaluate(zulu, new) > target  # the loss falls with the strength there
    zulu.set_adapter("Zulu")
    found = matched_strength(base, zulu, target + 1e-6, new, old, points=10)
    assert found["strength"] == 0.7 and found["loss"][0] == pytest.approx(target, abs=1e-6)
    assert zulu.active_adapters == {"Zulu": 1.0}
    none = matched_strength(base, zulu, 0.0, new, old, points=4)
    assert none["strength"] in (0.75, 1.0)
