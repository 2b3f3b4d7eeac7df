"""The picture of learning against forgetting draws what was measured."""

import copy

from lora_teach.pictures.forgetting import drawing as plots
from lora_teach.pictures.forgetting.numbers import CONTENDERS
from lora_teach.pictures.forgetting.view import Forgetting
from lora_teach.plots.style import settle
from tests.plots.small import FORGETTING

import numpy as np
import pytest
from matplotlib.colors import same_color


def lines(axes):
    return [np.column_stack(line.get_data()).astype(float) for line in axes.lines]


def drawn_as(axes, expected):
    return any(path.shape == np.shape(expected) and np.allclose(path, expected) for path in lines(axes))


def test_no_two_contenders_look_alike():
    looks = [
        (look["color"], look["marker"], look["markerfacecolor"])
        for look in (plots.look(name, marker=True) for name in CONTENDERS)
    ]
    assert len(set(looks)) == len(CONTENDERS)
    assert all(look[1] for look in looks)
    dashes = {(plots.look(name)["color"], str(plots.look(name)["linestyle"])) for name in CONTENDERS}
    assert len(dashes) == len(CONTENDERS)


def test_each_path_is_drawn_with_its_band_at_strength_1_and_its_row_at_equal_learning():
    view = Forgetting(guess=2.8, result=FORGETTING)
    view(language="Zulu", strength=1.0)
    left, middle, right = view.drawn.axes
    assert drawn_as(left, [[3.0, 2.0], [2.5, 2.95], [2.05, 3.4], [2.15, 5.0]])  # LoRA r=1, the mean of two seeds
    assert drawn_as(left, [[2.0, 3.4], [2.1, 3.4]]) and drawn_as(left, [[2.05, 3.3], [2.05, 3.5]])  # its seeds at ×1
    for axes in (middle, right):
        assert drawn_as(axes, [[2.85, 3], [3.05, 3]]) and drawn_as(axes, [[2.95, 3]])  # full: row 3
        assert [text.get_text() for text in axes.texts] == ["3.30", "3.05", "2.60", "2.95"]
    assert drawn_as(middle, [[2.8, 0]])  # the guess, in the first contender's row
    (path,) = [path for path in lines(left) if path.shape == (4, 2) and np.allclose(path[2], [1.65, 3.45])]
    assert path[0].tolist() == [3.0, 2.0]


def test_another_language_takes_the_first_ones_place():
    view = Forgetting(guess=2.8, result=FORGETTING)
    view(language="Zulu", strength=1.0)
    before = [len(axes.get_children()) for axes in view.drawn.axes]
    view(language="Icelandic", strength=1.0)
    assert [text.get_text() for text in view.drawn.axes[1].texts] == ["2.80", "3.05"]
    assert [text.get_text() for text in view.drawn.axes[2].texts] == ["3.00", "3.25"]
    assert not view.drawn.guess.get_visible()
    view(language="Zulu", strength=0.5)
    assert [len(axes.get_children()) for axes in view.drawn.axes] == before
    assert view.drawn.guess.get_visible()


def test_the_twin_has_a_row_a_language_and_a_panel_a_contender_with_the_others_in_grey():
    view, grey = Forgetting(result=FORGETTING), plots.COLOURS["ghost"]
    made = plots.draw_twin(
        {
            language: (view.paths(language), view.strengths, view.training(language), view.equal[language])
            for language in view.entries
        }
    )
    settle(made)
    shown = [axes for axes in made.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == [
        "LoRA r=1", "LoRA r=4", "rsLoRA r=16", "full", "LoRA r=1", "full",
    ]  # fmt: skip
    assert sum(same_color(line.get_color(), grey) for line in shown[0].lines) == 4
    assert [text.get_text() for text in shown[0].texts] == ["3.30"]


def test_drawing_leaves_the_results_as_they_were():
    before = copy.deepcopy(FORGETTING)
    Forgetting(result=FORGETTING).twin()
    assert before == FORGETTING


@pytest.mark.parametrize("strength", [0.0, 1.5])
def test_the_dots_stand_at_the_strength(strength):
    view = Forgetting(result=FORGETTING)
    view(language="Zulu", strength=strength)
    at = FORGETTING["settings"]["strengths"].index(strength)
    runs = FORGETTING["results"]["Zulu"]["runs"]["full"]
    expected = np.mean([run["strength"][at] for run in runs], axis=0)
    assert np.ravel(view.drawn.dots["full"].get_data()) == pytest.approx(expected)
    assert not len(view.drawn.dots["yours"].get_xdata())
