"""Cut or train: what is drawn and said is what was measured, read off another way."""

import copy
import re
from math import exp

from lora_teach.live import explore
from lora_teach.pictures.cut_or_train import CutOrTrain
from lora_teach.pictures.cut_or_train.view import guesses
from lora_teach.plots import figure, panels
from lora_teach.plots.die import SIDES, die_axis
from tests.live.sweep import sweep
from tests.plots.small import CUT_OR_TRAIN, LINES

import numpy as np
import pytest


def numbers(text):
    return [float(number) for number in re.findall(r"\d+\.\d\d", text)]


def points(axes, marker):
    """All points drawn with this marker, as a list of (x, y)."""
    lines = [line for line in axes.lines if line.get_marker() == marker]
    return [tuple(map(float, point)) for line in lines for point in zip(*line.get_data(), strict=True)]


def test_the_die_stands_at_the_height_of_its_loss():
    made = figure(4, 3)
    axes = panels(made)
    axes.set_ylim(1.5, 3.5)
    right = die_axis(axes)
    made.canvas.draw()
    assert list(right.get_yticks()) == list(SIDES)
    assert right.get_ylim() == pytest.approx((np.exp(1.5), np.exp(3.5)))


@pytest.mark.parametrize(
    ("guess", "meant"),
    [(None, {}), (2.5, {1: 2.5}), ({8: 2.0, 1: 2.4}, {1: 2.4, 8: 2.0}), ([3, 2, 1], {1: 3, 8: 2, 64: 1})],
)
def test_a_guess_is_a_number_a_dict_or_a_list(guess, meant):
    assert guesses(guess, [1, 8, 64]) == meant


@pytest.mark.parametrize(
    ("guess", "error", "words"),
    [
        ([2.0], ValueError, "Give 3"),
        ("2.0", TypeError, "is not a number"),
        ({1: "two"}, TypeError, "'two' is not a number. Give a loss in nats from 0 to 10"),
        (True, TypeError, "True is not a number"),
        (float("nan"), ValueError, "Give a loss in nats"),
        ([2.0, 11.0, 2.0], ValueError, "Give 3 numbers in a list, each a loss in nats from 0 to 10"),
        ({128: 2.0}, ValueError, "128 lies outside the picture. Give a rank from 1 to 64"),
        ({"1": 2.0}, TypeError, "'1' is not a number. Give a rank"),
    ],
)
def test_another_guess_is_refused_with_a_cure(guess, error, words):
    with pytest.raises(error, match=words):
        CutOrTrain(guess, result=CUT_OR_TRAIN)


def test_three_lines_the_guess_and_a_run_of_ones_own_are_drawn_and_the_results_stay_as_they_were():
    before = copy.deepcopy(CUT_OR_TRAIN)
    view = CutOrTrain({1: 4.5, 8: 2.2}, {"update cut": {4: 2.25}}, CUT_OR_TRAIN)
    (axes,) = view.picture.figure.axes
    for marker, way in (("s", "weights cut"), ("^", "update cut"), ("o", "trained")):
        assert points(axes, marker) == list(zip([1.0, 8.0, 64.0], LINES[way], strict=True))
    assert points(axes, "D") == [(1.0, 4.5), (8.0, 2.2)]
    assert points(axes, "x") == [(4.0, 2.25)]
    assert axes.get_ylim()[1] > 4.5
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels.count("your guess") == labels.count("your own run") == 1
    assert before == CUT_OR_TRAIN


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_sentence_reads_the_three_lines_at_a_rank(place):
    losses = [LINES[way][place] for way in ("weights cut", "update cut", "trained")]
    said = CutOrTrain(result=CUT_OR_TRAIN).move(rank=[1, 8, 64][place], third_line=True)
    assert numbers(said) == losses
    assert all(f"({exp(loss):.0f} sides)" in said for loss in losses)


def test_the_guess_is_said_at_the_rank_it_was_made_for():
    view = CutOrTrain({8: 2.5}, result=CUT_OR_TRAIN)
    assert "guess" not in view.move(rank=1, third_line=True)
    assert "Your guess: 2.50." in view.move(rank=8, third_line=False)


def test_the_third_line_stays_hidden_until_it_is_asked_for():
    explorer = explore(CutOrTrain({8: 2.0}, result=CUT_OR_TRAIN))
    view = explorer.view
    assert explorer.values == {"rank": 1, "third_line": False} and numbers(explorer.sentence) == [3.9, 2.3]
    third = [*view.trained, view.dots["trained"]]
    hidden = view.picture.whole()
    assert not any(artist.get_visible() for artist in third)
    assert numbers(view.move(rank=1, third_line=True)) == [3.9, 2.3, 1.98]
    assert all(artist.get_visible() for artist in third)
    assert (view.picture.whole() != hidden).any()
    assert len(list(sweep(explorer))) == 4


def test_the_static_figure_shows_the_third_line_and_compares_the_three_at_the_lowest_rank():
    still = explore(CutOrTrain(result=CUT_OR_TRAIN)).static_figure
    assert numbers(still.sentence) == [3.9, 2.3, 1.98]
