"""The pictures of notebook 05: what is drawn is what was measured."""

import numpy as np
import pytest

from lora_teach.pictures.alpha_at_use import view as alpha_at_use
from lora_teach.pictures.first_step import view as first_step
from lora_teach.pictures.ranks import view as ranks
from lora_teach.plots.style import MARKERS

RANKS = (1, 4, 16)
DROPS = {
    "Adam": {"alpha/r": [1.0, 1.0, 1.0], "alpha/sqrt(r)": [1.0, 2.0, 4.0], "alpha": [1.0, 4.0, 16.0]},
    "gradient descent": {"alpha/r": [1.0, 0.25, 0.0625], "alpha/sqrt(r)": [1.0, 1.0, 1.0], "alpha": [1.0, 4.0, 16.0]},
}


def drawn(axes, marker):
    """The points drawn with this marker."""
    (found,) = [line for line in axes.lines if line.get_marker() == marker]
    return [tuple(map(float, point)) for point in zip(*found.get_data(), strict=True)]


def test_first_step_draws_every_drop_and_the_slope_that_was_derived_through_it():
    made = first_step.draw(DROPS, RANKS)
    for axes, (optimizer, lines) in zip(made.axes, DROPS.items(), strict=True):
        for rule, (role, _) in first_step.RULES.items():
            assert drawn(axes, MARKERS[role]) == list(zip(RANKS, lines[rule], strict=True))
        slopes = {
            round(float(np.polyfit(np.log(line.get_xdata()), np.log(line.get_ydata()), 1)[0]), 6)
            for line in axes.lines
            if line.get_marker() in ("", "None")
        }
        assert slopes == set(first_step.POWERS[optimizer].values())
        assert axes.get_xscale() == axes.get_yscale() == "log"


def test_the_guess_stands_at_the_last_rank_so_many_times_as_high_as_the_first():
    axes = first_step.draw(DROPS, RANKS, guess=50).axes[0]
    assert drawn(axes, "D") == [(16.0, 50.0)]
    assert axes.get_ylim()[1] > 50
    assert not [line for line in first_step.draw(DROPS, RANKS).axes[0].lines if line.get_marker() == "D"]


def test_both_lives_of_alpha_are_drawn_and_the_rate_of_b_over_them():
    lines = {"used": [0.1, 0.9, 0.3], "trained": [0.5, 0.9, 0.95], "rate of B": [0.5, 0.9, 0.95]}
    (axes,) = alpha_at_use.draw(lines, [0.5, 1, 2], base=0.09).axes
    for name, marker in (("used", "v"), ("trained", "o"), ("rate of B", "s")):
        assert [y for _, y in drawn(axes, marker)] == lines[name]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["×1/2", "×1", "×2"]


def test_ranks_draws_the_mean_of_the_seeds_and_full_fine_tuning_at_one():
    lines = {"turned": {1: [0.5, 0.7], 4: [0.9, 1.0]}, "inverted": {1: [-0.1, 0.1], 4: [0.4, 0.6], 96: [0.5, 0.5]}}
    (axes,) = ranks.draw(lines).axes
    found = {
        marker: [line.get_ydata().tolist() for line in axes.lines if line.get_marker() == marker] for marker in "do"
    }
    assert found["d"] == [[0.5, 0.9], [0.7, 1.0], pytest.approx([0.6, 0.95])]
    assert found["o"] == [[-0.1, 0.4, 0.5], [0.1, 0.6, 0.5], pytest.approx([0, 0.5, 0.5])]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["full fine-tuning", "turned", "inverted"]
    assert axes.get_ylim()[0] < -0.1


def test_the_advice_is_shaded_between_its_ranks():
    (axes,) = ranks.draw({"turned": {1: [0.5], 16: [0.9]}}, advised=(2, 8)).axes
    (band,) = [patch for patch in axes.patches if patch.get_xy()[0] == 2]
    assert band.get_width() == 6
    assert any("2 or 8" in text.get_text() for text in axes.texts)
