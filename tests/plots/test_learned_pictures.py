"""The pictures of notebook 11: what is drawn is what was measured."""

import numpy as np
import pytest

from lora_teach.pictures.intruders import drawing as intruders

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
