"""Race: what is drawn and said is what was measured, read off another way."""

import copy
import re
from statistics import mean

from lora_teach.live import explore
from lora_teach.measure.results import load_result
from lora_teach.pictures.race import Race
from lora_teach.pictures.race.view import draw_all, roles
from lora_teach.plots.style import settle
from tests.live.sweep import sweep
from tests.plots.small import RACE

import numpy as np
import pytest


def shown(guess=None):
    return explore(Race(guess, RACE), stop_at=([20, 40, 60], 40))


def points(axes, marker):
    """All points drawn with this marker, as a list of (x, y)."""
    lines = [line for line in axes.lines if line.get_marker() == marker]
    return [tuple(map(float, point)) for line in lines for point in zip(*line.get_data(), strict=True)]


def test_one_step_for_all_is_compared_with_each_at_its_own_best():
    explorer = shown()
    stopped, own = explorer.move(language="Finnish", stop_at=60).split("Each")
    assert "LoRA r=1 2.20, full 2.70 on validation" in stopped  # by a fixed step, LoRA is half a nat ahead
    assert "full 2.20, LoRA r=1 2.30 on test" in own  # at their own best it is behind
    assert "full 2.10, LoRA r=1 2.50" in explorer.move(stop_at=20)
    assert "full 2.95, LoRA r=1 3.15 on test" in explorer.move(language="Icelandic")
    assert len(list(sweep(explorer))) == 6


def test_each_seeds_best_checkpoint_and_the_mean_of_the_test_losses_are_drawn():
    left, right = shown().view.axes
    assert (60.0, 2.1) in points(left, "X") and (40.0, 2.2) in points(left, "X")
    assert points(right, "X") == [(0.0, pytest.approx(2.3))]
    assert points(right, "^") == [(1.0, pytest.approx(2.2))]
    assert [text.get_text() for text in right.texts] == ["2.30", "2.20"]


def test_another_language_takes_the_first_ones_place_and_the_guess_goes():
    explorer = shown(guess=2.9)
    view = explorer.view
    before = [len(axes.get_children()) for axes in view.axes]
    assert view.mark.get_visible() and view.axes[1].get_ylim()[1] > 2.9
    assert "Your guess for LoRA r=1: 2.90." in explorer.sentence
    assert "guess" not in explorer.move(language="Icelandic")
    assert [len(axes.get_children()) for axes in view.axes] == before
    assert points(view.axes[1], "^") == [(1.0, pytest.approx(2.95))]
    assert view.axes[0].get_title(loc="left") == "Icelandic: loss on validation names"
    assert not view.mark.get_visible()


@pytest.mark.parametrize(("guess", "error"), [("2.3", TypeError), (float("nan"), ValueError), (220, ValueError)])
def test_another_guess_is_refused_with_a_cure(guess, error):
    with pytest.raises(error, match="Give a loss in nats from 0 to 10, or None"):
        Race(guess, RACE)


def test_the_static_figure_says_who_won_in_every_language_of_the_results():
    said = Race().static_figure().sentence
    for language, result in load_result("race")["results"].items():
        own = re.search(rf"{language}: ([^.]*\.\d\d, )*[^.]*\.\d\d\.", said)[0]
        expected = sorted(mean(run["test"] for run in entry["runs"]) for entry in result["contenders"].values())
        assert [float(number) for number in re.findall(r"\d+\.\d\d", own)] == pytest.approx(expected, abs=0.006)


def test_every_result_lies_inside_its_panel_and_drawing_changes_none():
    before = copy.deepcopy(RACE)
    made = draw_all(RACE["results"], "Finnish")
    settle(made)
    assert before == RACE
    panels = made.axes[1:]
    for axes, result in zip(panels, RACE["results"].values(), strict=True):
        low, high = axes.get_ylim()
        tests = [run["test"] for entry in result["contenders"].values() for run in entry["runs"]]
        assert low < min(tests) and max(tests) < high
    spans = [np.ptp(axes.get_ylim()) for axes in panels]
    assert spans == pytest.approx([spans[0]] * len(spans))


def test_contenders_of_other_names_get_a_look_of_their_own():
    assert len(set(roles(["LoRA r=1", "LoRA r=2", "LoRA r=8", "full"]).values())) == 4
