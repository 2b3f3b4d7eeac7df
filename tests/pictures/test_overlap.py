"""Overlap says and draws the similarities of the file, beside chance."""

import re

from lora_teach.measure.results import load_result
from lora_teach.pictures.overlap import Overlap
from lora_teach.pictures.overlap.view import LABELS, draw_maps

import numpy as np
import pytest

TITLES = list(LABELS)


@pytest.fixture(scope="module")
def view():
    return Overlap()


@pytest.mark.parametrize(("layer", "inputs"), [("v", 96), ("down", 384)])
def test_both_maps_and_chance_are_said_and_drawn(view, layer, inputs):
    maps = load_result("learned")["results"]["Zulu"]["similarities"]["maps"]
    said = view.move(layer=layer)
    name = next(name for name in maps[TITLES[0]] if f".{layer}_proj" in name)
    ranks, seeds = (np.array(maps[title][name]) for title in TITLES[:2])
    expected = [ranks[0, 0], seeds[0, 0], 1 / inputs, ranks[-1, -1], seeds[-1, -1], 16 / inputs]
    numbers = [float(number) for number in re.findall(r"\d+\.\d\d", said)]
    assert numbers == pytest.approx(expected, abs=0.006)
    for title, values in zip(TITLES, (ranks, seeds), strict=False):
        assert np.allclose(view.images[title].get_array(), values)
        assert view.corners[title].get_text() == f"{values[0, 0]:.2f}"


def test_the_map_of_chance_is_of_spaces_of_the_layers_own_size(view):
    v, down = (view.maps(layer)["chance"][-1, -1].item() for layer in ("v", "down"))
    assert v == pytest.approx(16 / 96, abs=0.06) and down == pytest.approx(16 / 384, abs=0.03)


def test_heat_maps_have_one_scale_and_say_what_they_count(view):
    assert all(image.get_clim() == (0, 1) for image in view.images.values())
    axes = view.picture.figure.axes[0]
    assert (axes.get_ylabel(), axes.get_xlabel()) == LABELS[TITLES[0]]


def test_a_row_for_each_layer():
    maps = {title: np.full((2, 2), 0.01) for title in TITLES}
    fig, _, corners = draw_maps({"q": maps, "v": maps})
    assert len(fig.axes) == 2 * 3 + 1  # and the colours' scale
    assert fig.axes[0].get_ylabel().startswith("q") and fig.axes[3].get_ylabel().startswith("v")
    assert corners["chance"].get_text() == "0.01"
