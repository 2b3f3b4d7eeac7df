"""Turn it down: what is drawn and said is what was measured, read off another way."""

import copy
import re

from lora_teach.live import explore
from lora_teach.measure.results import load_result
from lora_teach.pictures.turn_it_down import TurnItDown
from tests.live.sweep import sweep
from tests.plots.small import TURN_IT_DOWN

import numpy as np
import pytest


def points(axes, marker):
    """All points drawn with this marker, as a list of (x, y)."""
    lines = [line for line in axes.lines if line.get_marker() == marker]
    return [tuple(map(float, point)) for line in lines for point in zip(*line.get_data(), strict=True)]


def test_it_tells_what_a_strength_costs_and_buys():
    explorer = explore(TurnItDown(result=TURN_IT_DOWN))
    assert explorer.values == {"strength": 0.75} and explorer.static_figure is None
    numbers = [float(number) for number in re.findall(r"\d+\.\d\d", explorer.sentence)]
    assert numbers[1:5] == pytest.approx([2.05, 3.10, 2.10, 2.90], abs=0.006)
    assert "0.10 worse on Zulu and 0.20 better on English" in explorer.sentence
    assert "as it was trained" in explorer.move(strength=1.0)
    assert len(list(sweep(explorer))) == 3


def test_the_guess_is_said_at_the_strength_it_was_made_for():
    view = TurnItDown(2.75, result=TURN_IT_DOWN)
    assert "guess" not in view.move(strength=0.5)
    assert "Your guess for English: 2.75." in view.move(strength=0.75)


@pytest.mark.parametrize(("guess", "error"), [("3", TypeError), (float("nan"), ValueError), (220, ValueError)])
def test_another_guess_is_refused_with_a_cure(guess, error):
    with pytest.raises(error, match="Give a loss in nats from 0 to 10, or None"):
        TurnItDown(guess, result=TURN_IT_DOWN)


def test_the_mean_path_is_drawn_over_each_seeds_and_the_results_stay_as_they_were():
    before = copy.deepcopy(TURN_IT_DOWN)
    view = TurnItDown(2.9, {0.5: (2.5, 2.6)}, TURN_IT_DOWN)
    left, right = view.picture.figure.axes
    mean = [[3.3, 2.0], [2.2, 2.8], [2.05, 3.1], [1.95, 3.3], [2.3, 3.6]]
    paths = [np.column_stack(line.get_data()) for line in right.lines]
    assert any(path.shape == (5, 2) and np.allclose(path, mean) for path in paths)
    assert points(left, "D") == [(0.75, 2.9)]
    assert points(right, "x") == [(2.5, 2.6)] and points(left, "x") == [(0.5, 2.5), (0.5, 2.6)]
    view.move(0.5)
    dots = [tuple(np.ravel(dot.get_data())) for dot in view.dots["full"]]
    assert dots == [pytest.approx(place) for place in ((0.5, 2.4), (0.5, 2.6), (2.4, 2.6))]
    assert before == TURN_IT_DOWN


def test_strength_0_forgets_nothing_exactly():
    """In the results too, ×0 is the base to the last bit: one loss for all seeds and both ways of training."""
    result = load_result("turn_it_down")
    at = result["settings"]["strengths"].index(0)
    starts = {tuple(path[at]) for entry in result["results"].values() for path in entry["paths"]}
    assert len(starts) == 1
