"""What rank buys: gains are shares of full fine-tuning's, and what is drawn is what was measured."""

from statistics import mean

from lora_teach.measure.results import load_result
from lora_teach.pictures.ranks import draw_ranks, gain_lines, shares

import pytest


def test_shares_are_of_the_gain():
    assert shares(0.2, 0.8, [0.2, 0.5, 0.8]) == [0, 0.5, 1]
    assert shares(3.0, 2.0, [3.5, 2.25]) == [-0.5, 0.75]


def test_the_gains_are_of_both_files():
    lines, names = gain_lines(), load_result("cut_or_train")["results"]
    assert list(lines) == [
        "Zulu names", "turned by 30°, α = 8", "turned by 90°, α = 8", "inverted, α = 512", "inverted, α = 8"
    ]  # fmt: skip
    gained = names["base"] - names["full"]
    assert mean(lines["Zulu names"][4]) == pytest.approx(
        (names["base"] - names["lines"]["trained"][2]) / gained, abs=1e-3
    )
    inverted = load_result("ranks")["results"]["inverted"]
    reached = inverted["LoRA"]["512"]["8"]["mean"] - inverted["base"]
    assert mean(lines["inverted, α = 512"][8]) == pytest.approx(
        reached / (inverted["full"]["mean"] - inverted["base"]), abs=1e-3
    )


def test_ranks_draws_the_mean_of_the_seeds_and_full_fine_tuning_at_one():
    lines = {"turned": {1: [0.5, 0.7], 4: [0.9, 1.0]}, "inverted": {1: [-0.1, 0.1], 4: [0.4, 0.6], 96: [0.5, 0.5]}}
    (axes,) = draw_ranks(lines).axes
    found = {
        marker: [line.get_ydata().tolist() for line in axes.lines if line.get_marker() == marker] for marker in "do"
    }
    assert found["d"] == [[0.5, 0.9], [0.7, 1.0], pytest.approx([0.6, 0.95])]
    assert found["o"] == [[-0.1, 0.4, 0.5], [0.1, 0.6, 0.5], pytest.approx([0, 0.5, 0.5])]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["full fine-tuning", "turned", "inverted"]
    assert axes.get_ylim()[0] < -0.1


def test_the_advice_is_shaded_between_its_ranks():
    (axes,) = draw_ranks({"turned": {1: [0.5], 16: [0.9]}}, advised=(2, 8)).axes
    (band,) = [patch for patch in axes.patches if patch.get_xy()[0] == 2]
    assert band.get_width() == 6
    assert any("2 or 8" in text.get_text() for text in axes.texts)
