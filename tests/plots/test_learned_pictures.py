"""The pictures of notebook 11: what is drawn is what was measured."""

import numpy as np
import pytest

from lora_teach.pictures.intruders import drawing as intruders
from lora_teach.pictures.learned_spectra import drawing as learned_spectra
from lora_teach.pictures.overlap import drawing as overlap
from lora_teach.plots.style import MARKERS

NAMES = ["LoRA r=1", "LoRA r=2", "LoRA r=8", "LoRA r=64", "full"]
SIGMA = {
    "LoRA r=1": [4.0],
    "LoRA r=2": [3.0, 1.0],
    "LoRA r=8": [2.0, 1.0, 0.5],
    "LoRA r=64": [2.0] * 4,
    "full": [1.0] * 5,
}
HELD = {name: np.cumsum(np.square(sigma)) / np.sum(np.square(sigma)) for name, sigma in SIGMA.items()}


def points(line):
    return [tuple(map(float, point)) for point in zip(*line.get_data(), strict=True)]


def diamonds(figure):
    return [points(line) for axes in figure.axes for line in axes.lines if line.get_marker() == "D"]


def test_spectra_draw_both_curves_and_stand_where_the_slider_does():
    drawn = learned_spectra.draw(NAMES, 4.0)
    drawn.show(SIGMA, HELD, 3)
    for name in NAMES:
        sigma, held = (points(line) for line in drawn.lines[name])
        assert sigma == list(enumerate(SIGMA[name], 1))
        assert held == list(enumerate(HELD[name], 1))
        dots = [points(dot) for dot in drawn.dots[name]]
        there = [[(3.0, values[2])] if len(values) >= 3 else [] for values in (SIGMA[name], HELD[name])]
        assert dots == there  # a spectrum that has ended has no dot
    assert [list(line.get_xdata()) for line in drawn.here] == [[3, 3]] * 2
    assert diamonds(drawn.picture.figure) == []
    assert diamonds(learned_spectra.draw(NAMES, 4.0, guess=30).picture.figure) == [[(30.0, 0.9)]]


def test_the_still_of_spectra_marks_where_90_percent_are_reached():
    counts = {name: int((held < 0.9).sum()) + 1 for name, held in HELD.items()}
    figure = learned_spectra.multiples({"q": HELD, "v": HELD}, {"q": counts, "v": counts})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["q: full needs 5", "v: full needs 5"]
    marks = [points(line) for line in figure.axes[0].lines if line.get_marker() == MARKERS["lora"]]
    assert marks == [[(2.0, pytest.approx(HELD["LoRA r=8"][1]))]]


def test_the_meters_the_path_and_the_dots_follow():
    drawn = intruders.draw((3.3, 2.1), (1.9, 3.9), [(3.3, 2.1), (2.2, 2.9), (1.9, 3.9)], "Zulu", guess=3.2)
    meters, path = {"learned": 1.3, "forgotten": 0.6}, [(3.0, 2.5), (1.9, 3.9)]
    drawn.show(meters, path, {"intruders": (2.5, 3.0), "update": (2.4, 2.8)})
    assert {name: bar.get_width() for name, bar in drawn.bars.items()} == meters
    assert {name: text.get_text() for name, text in drawn.numbers.items()} == {"learned": "1.30", "forgotten": "0.60"}
    assert points(drawn.path) == path
    assert points(drawn.dots["intruders"]) == [(2.5, 3.0)] and points(drawn.dots["update"]) == [(2.4, 2.8)]
    ((x, y),) = diamonds(drawn.picture.figure)[0]
    assert y == 3.2 and x == pytest.approx(1.93)


def test_the_still_of_intruders_has_a_panel_for_each_contender_with_every_seed():
    path = np.array([[[3.3, 2.1], [2.0, 3.8]], [[3.3, 2.1], [1.8, 3.6]]])  # (seeds, factors, 2)
    both = {"intruders": path + 0.1, "update": path}
    figure = intruders.multiples({"LoRA r=1": both, "full": both}, {"LoRA r=1": 17, "full": 9.3}, (3.3, 2.1), "Zulu")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["LoRA r=1\n17 intruders", "full\n9 intruders"]
    for axes in figure.axes:
        lines = [points(line) for line in axes.lines]
        for way, shift in (("intruders", 0.1), ("update", 0.0)):
            for seed in path + shift:
                assert [tuple(point) for point in seed] in lines, way
            assert [tuple(point) for point in (path + shift).mean(0)] in lines


def test_heat_maps_have_one_scale_and_say_their_first_entry():
    maps = {"a": np.full((2, 3), 0.4), "chance": np.array([[0.01, 0.1, 0.2], [0.2, 0.3, 0.3]])}
    drawn = overlap.draw({"q": maps}, {"a": ("rows", "columns")})
    assert all(image.get_clim() == (0, 1) for image in drawn.images.values())
    assert np.array_equal(drawn.images["chance"].get_array(), maps["chance"])
    assert drawn.corners["chance"].get_text() == "0.01"
    assert (drawn.picture.figure.axes[0].get_ylabel(), drawn.picture.figure.axes[0].get_xlabel()) == ("rows", "columns")
    drawn.show({"a": np.eye(2, 3), "chance": maps["a"]})
    assert np.array_equal(drawn.images["a"].get_array(), np.eye(2, 3))
    assert drawn.corners["a"].get_text() == "1.00" and drawn.corners["chance"].get_text() == "0.40"


def test_a_row_for_each_layer():
    maps = {"a": np.zeros((2, 2)), "b": np.ones((2, 2))}
    axes = overlap.draw({"q": maps, "v": maps}).picture.figure.axes
    assert len(axes) == 2 * 2 + 1  # and the colours' scale
    assert axes[0].get_ylabel().startswith("q") and axes[2].get_ylabel().startswith("v")
