"""The views of notebook 11 say what the measures say, counted another way."""

import re

import numpy as np
import pytest
import torch

from lora_teach.bases import evaluate, load_language_adapter, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure import intruder_dimensions, shrink_intruders
from lora_teach.measure.learned import matrices
from lora_teach.measure.results import load_result
from lora_teach.measure.truncate_update import block_matrices
from lora_teach.pictures.intruders.view import FACTORS, LETTERS_KNOWN, Intruders
from lora_teach.pictures.learned_spectra.view import KINDS, Spectra
from lora_teach.pictures.overlap.view import Overlap


@pytest.fixture(scope="module")
def zulu():
    return load_result("learned")["results"]["Zulu"]


@pytest.fixture(scope="module")
def intruders():
    return Intruders(guess=3.2)


def numbers(text):
    return [float(number) for number in re.findall(r"\d+\.\d\d", text)]


@pytest.mark.parametrize("kind", ["all layers", "v", "MLP down"])
def test_spectra_read_the_share_that_the_leading_directions_hold(kind, zulu):
    said = Spectra(guess=30)(directions=5, layers=kind)
    for name, entry in zulu["contenders"].items():
        shares = []
        for layer, sigma in entry["spectra"].items():
            if layer.endswith(KINDS[kind]):
                squares = [value**2 for value in sigma]
                shares.append(sum(squares[:5]) / sum(squares))
        assert f"{name} {sum(shares) / len(shares):.0%}" in said
    assert said.endswith("Your guess: 30.")


def test_spectra_count_the_directions_that_hold_90_percent(zulu):
    view = Spectra()
    needs = view.count("q")["full"]
    held = view.held("q")["full"]
    assert held[needs - 2] < 0.9 <= held[needs - 1]
    assert f"90 % of full fine-tuning's takes {needs}." in view(directions=1, layers="q")
    counts = [view.count(kind)["full"] for kind in list(KINDS)[1:]]
    assert f"takes {min(counts)} to {max(counts)} of 96 directions" in view.twin().sentence


@pytest.mark.parametrize(("factor", "epsilon"), [(0.0, 0.5), (0.75, 0.7)])
def test_intruders_read_the_losses_of_the_shrunk_weights(intruders, factor, epsilon):
    said = intruders(factor=factor, epsilon=epsilon)
    base, model = load_name_gpt(), load_name_gpt()
    before, after = matrices(base), matrices(load_language_adapter(load_name_gpt(), "Zulu"))
    with torch.no_grad():
        for name, weight in block_matrices(model).items():
            name = name.removesuffix(".weight")
            weight.copy_(shrink_intruders(before[name], after[name], factor, epsilon, 10))
    lists = names.load("Zulu").test, names.load("English").test[:LETTERS_KNOWN]
    new, old = (evaluate(model, some) for some in lists)
    count = sum(len(intruder_dimensions(before[name], W1, epsilon, 10)) for name, W1 in after.items())
    assert f"{count} intruders among the 180" in said
    assert numbers(said.partition("the loss is")[2])[:2] == pytest.approx([new, old], abs=0.006)
    assert ("Your guess for English: 3.20." in said) == (factor == 0.75)
    assert [intruders.drawn.bars[meter].get_width() for meter in ("learned", "forgotten")] == pytest.approx(
        [evaluate(base, lists[0]) - new, old - evaluate(base, lists[1])], abs=1e-4
    )


def test_at_one_and_at_the_ends_of_the_dial_intruders_are_the_trained_model_and_the_base(intruders):
    model = load_language_adapter(load_name_gpt(), "Zulu")
    trained = [evaluate(model, some) for some in intruders.lists]
    assert intruders.losses(1.0, 0.5) == pytest.approx(trained, abs=1e-4)
    assert intruders.dial[-1] == pytest.approx(trained, abs=1e-4)
    assert intruders.dial[0] == pytest.approx(intruders.base, abs=1e-6)


def test_the_still_of_intruders_says_what_a_quarter_off_does_to_each_contender(intruders, zulu):
    said = intruders.twin().sentence
    for name, entry in zulu["contenders"].items():
        paths = np.array([run["intruders shrunk"] for run in entry["runs"]])  # (seeds, factors, 2)
        new, old = (paths[:, FACTORS.index(0.75)] - paths[:, -1]).mean(0)
        came = re.search(rf"{name} ([+-]\d\.\d\d) and ([+-]\d\.\d\d)", said)
        assert [float(came[1]), float(came[2])] == pytest.approx([new, old], abs=0.006)
    assert load_result("learned")["settings"]["factors"] == list(FACTORS)


def test_overlap_reads_both_maps_and_chance(zulu):
    view = Overlap()
    maps = zulu["similarities"]["maps"]
    for layer, inputs in (("v", 96), ("down", 384)):
        said = view(layer=layer)
        name = next(name for name in maps["r=8 and r=64"] if f".{layer}_proj" in name)
        corners = [np.array(maps[title][name]) for title in ("r=8 and r=64", "r=64, two seeds")]
        expected = [corners[0][0, 0], corners[1][0, 0], 1 / inputs, corners[0][-1, -1], corners[1][-1, -1], 16 / inputs]
        assert numbers(said) == pytest.approx(expected, abs=0.006)


def test_the_map_of_chance_is_of_spaces_of_the_layers_own_size():
    view = Overlap()
    v, down = (view.maps(layer)["chance"][-1, -1].item() for layer in ("v", "down"))
    assert v == pytest.approx(16 / 96, abs=0.06) and down == pytest.approx(16 / 384, abs=0.03)
