"""Magnitudes: what turns a row, what stretches it, and the random update beside it."""

from lora_teach.measure.results import load_result
from lora_teach.pictures.magnitudes import Magnitudes, layer_points, slope, turned_and_stretched

import pytest
import torch


def test_turning_and_stretching_are_told_apart():
    weight = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    assert turned_and_stretched(weight, 0.5 * weight) == pytest.approx((0, 0.5))
    quarter = torch.tensor([[0.0, 3.0], [2.0, 0.0]])
    assert turned_and_stretched(weight, quarter - weight) == pytest.approx((1, 0))
    assert turned_and_stretched(weight, -2 * weight) == pytest.approx((2, 0))
    assert turned_and_stretched(weight, -0.5 * weight) == pytest.approx((0, 0.5))


def test_the_control_is_as_large_and_of_the_same_rank_and_moves_both():
    draw = torch.Generator().manual_seed(1)
    before = {str(k): torch.randn(20, 30, generator=draw) for k in range(6)}
    updates = {name: (k + 1) * 0.1 * weight for k, (name, weight) in enumerate(before.items())}
    points = layer_points(before, updates, rank=2)
    assert [turned for turned, _ in points["learned"]] == pytest.approx([0] * 6, abs=1e-6)
    assert points == layer_points(before, updates, rank=2)
    assert slope(points["random"]) > 0.9


def test_the_view_says_the_correlation_of_the_chosen_training():
    view = Magnitudes()
    runs = load_result("variants")["results"]["names"]["Zulu"]["DoRA"]["magnitudes"]
    step = list(runs[0])[-1]
    expected = sum(slope(run[step]["learned"]) for run in runs) / len(runs)
    assert f"DoRA, step {step}: the correlation over layers is {expected:.2f}" in view.move("DoRA", int(step))
    assert len(view.dots.get_xdata()) == 18 * len(runs) and f"DoRA {expected:.2f}" in view.static_figure().sentence
