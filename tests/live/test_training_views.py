"""The views of notebook 04 say what the results say, read off another way."""

import re
from math import exp

from lora_teach.live import explore
from lora_teach.measure.results import load_result
from lora_teach.pictures.cut_or_train.view import CutOrTrain
from lora_teach.pictures.turn_it_down.view import TurnItDown
from tests.live.sweep import sweep
from tests.plots.small import CUT_OR_TRAIN, TURN_IT_DOWN

import pytest


def numbers(text):
    return [float(number) for number in re.findall(r"\d+\.\d\d", text)]


def test_the_other_two_say_the_guess_where_it_was_made():
    cut = CutOrTrain({8: 2.5}, result=CUT_OR_TRAIN)
    assert "guess" not in cut(rank=1, third_line=True) and "Your guess: 2.50." in cut(rank=8, third_line=False)
    turn = TurnItDown(2.75, result=TURN_IT_DOWN)
    assert "guess" not in turn(strength=0.5) and "Your guess for English: 2.75." in turn(strength=0.75)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_cut_or_train_reads_the_three_lines_at_a_rank(place):
    view = CutOrTrain(result=CUT_OR_TRAIN)
    rank = view.ranks[place]
    losses = [CUT_OR_TRAIN["results"]["lines"][way][place] for way in ("weights cut", "update cut", "trained")]
    said = view(rank=rank, third_line=True)
    assert numbers(said) == losses
    assert all(f"({exp(loss):.0f} sides)" in said for loss in losses)


def test_the_third_line_stays_hidden_until_it_is_asked_for():
    view = CutOrTrain({8: 2.0}, result=CUT_OR_TRAIN)
    assert numbers(view(rank=1, third_line=False)) == [3.9, 2.3]
    hidden = view.picture.whole()
    assert not any(artist.get_visible() for artist in [*view.drawn.trained, view.drawn.dots["trained"]])
    assert numbers(view(rank=1, third_line=True)) == [3.9, 2.3, 1.98]
    assert all(artist.get_visible() for artist in [*view.drawn.trained, view.drawn.dots["trained"]])
    assert (view.picture.whole() != hidden).any()


def test_turn_it_down_tells_what_a_strength_costs_and_buys():
    view = TurnItDown(result=TURN_IT_DOWN)
    said = view(strength=0.75)
    assert numbers(said)[1:5] == pytest.approx([2.05, 3.10, 2.10, 2.90], abs=0.006)
    assert "0.10 worse on Zulu and 0.20 better on English" in said
    assert "as it was trained" in view(strength=1.0)
    assert len(list(sweep(explore(view, strength=(view.strengths, 0.75))))) == 3


def test_strength_0_forgets_nothing_exactly():
    """In the results too, ×0 is the base to the last bit: one loss for all seeds and both ways of training."""
    result = load_result("turn_it_down")
    at = result["settings"]["strengths"].index(0)
    starts = {tuple(path[at]) for entry in result["results"].values() for path in entry["paths"]}
    assert len(starts) == 1
