"""The pictures of notebook 04: what is drawn is what was measured."""

import copy

from lora_teach.pictures.cut_or_train import drawing as cut_or_train
from lora_teach.pictures.turn_it_down import drawing as turn_it_down
from lora_teach.plots import figure, panels
from lora_teach.plots.die import SIDES, die_axis
from tests.plots.small import CUT_OR_TRAIN, TURN_IT_DOWN

import numpy as np
import pytest


def points(axes, marker):
    """All points drawn with this marker, as a list of (x, y)."""
    return [
        tuple(map(float, p))
        for line in axes.lines
        if line.get_marker() == marker
        for p in zip(*line.get_data(), strict=True)
    ]


def test_the_die_stands_at_the_height_of_its_loss():
    made = figure(4, 3)
    axes = panels(made)
    axes.set_ylim(1.5, 3.5)
    right = die_axis(axes)
    made.canvas.draw()
    assert list(right.get_yticks()) == list(SIDES)
    low, high = right.get_ylim()
    assert (low, high) == pytest.approx((np.exp(1.5), np.exp(3.5)))


@pytest.mark.parametrize(
    ("guess", "meant"),
    [
        (None, {}),
        (2.5, {1: 2.5}),
        ({8: 2.0, 1: 2.4}, {1: 2.4, 8: 2.0}),
        ([3, 2, 1], {1: 3, 8: 2, 64: 1}),
    ],
)
def test_a_guess_is_a_number_a_dict_or_a_list(guess, meant):
    assert cut_or_train.guesses(guess, [1, 8, 64]) == meant


@pytest.mark.parametrize(
    ("guess", "error", "words"),
    [
        ([2.0], ValueError, "Give 3"),
        ("2.0", TypeError, "no guess"),
        ({1: "two"}, TypeError, "no guess"),
    ],
)
def test_another_guess_is_refused_with_a_cure(guess, error, words):
    with pytest.raises(error, match=words):
        cut_or_train.guesses(guess, [1, 8, 64])


def test_cut_or_train_draws_three_lines_the_guess_and_a_run_of_ones_own():
    results, ranks = CUT_OR_TRAIN["results"], CUT_OR_TRAIN["settings"]["ranks"]
    drawn = cut_or_train.draw(results, ranks, {1: 4.5, 8: 2.2}, yours={"update cut": {4: 2.25}})  # inside the axes
    (axes,) = drawn.picture.figure.axes
    for marker, way in (("s", "weights cut"), ("^", "update cut"), ("o", "trained")):
        assert points(axes, marker) == list(zip(map(float, ranks), results["lines"][way], strict=True))
    assert points(axes, "D") == [(1.0, 4.5), (8.0, 2.2)]
    assert points(axes, "x") == [(4.0, 2.25)]
    assert axes.get_ylim()[1] > 4.5
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels.count("your guess") == labels.count("your own run") == 1


def test_turn_it_down_draws_the_mean_path_over_each_seeds():
    paths = {name: entry["paths"] for name, entry in TURN_IT_DOWN["results"].items()}
    drawn = turn_it_down.draw(paths, TURN_IT_DOWN["settings"]["strengths"], "Zulu", 2.9, {0.5: (2.5, 2.6)})
    left, right = drawn.picture.figure.axes
    mean = [[3.3, 2.0], [2.2, 2.8], [2.05, 3.1], [1.95, 3.3], [2.3, 3.6]]
    paths = [np.column_stack(line.get_data()) for line in right.lines]
    assert any(path.shape == (5, 2) and np.allclose(path, mean) for path in paths)
    assert points(left, "D") == [(0.75, 2.9)]
    assert points(right, "x") == [(2.5, 2.6)] and points(left, "x") == [(0.5, 2.5), (0.5, 2.6)]
    drawn.move(0.5, {"LoRA r=4": (2.2, 2.8), "full": (2.4, 2.6)})
    assert [tuple(np.ravel(dot.get_data())) for dot in drawn.dots["full"]] == [(0.5, 2.4), (0.5, 2.6), (2.4, 2.6)]


def test_drawing_leaves_the_results_as_they_were():
    before = copy.deepcopy((CUT_OR_TRAIN, TURN_IT_DOWN))
    cut_or_train.draw(CUT_OR_TRAIN["results"], [1, 8, 64], {})
    assert before == (CUT_OR_TRAIN, TURN_IT_DOWN)
