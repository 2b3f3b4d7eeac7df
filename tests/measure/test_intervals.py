"""Intervals hold the true value as often as they say, and agree with scipy's."""

import math
import random

from lora_teach.measure.intervals import STUDENT_T, few_interval, mean_interval, share_interval

import pytest


@pytest.mark.parametrize(("right", "count"), [(0, 20), (20, 20), (18, 20), (1, 1), (0, 1), (333, 1000)])
def test_a_share_has_wilsons_interval(right, count):
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.binomtest(right, count).proportion_ci(method="wilson")
    assert share_interval(right, count)[0] >= 0 and share_interval(right, count)[1] <= 1
    assert share_interval(right, count) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


def test_a_mean_has_the_interval_of_its_standard_error():
    stats = pytest.importorskip("scipy.stats")
    values = [random.Random(n).gauss(2, 1) for n in range(30)]
    mean, low, high = mean_interval(values)
    assert (low, high) == pytest.approx(stats.norm.interval(0.95, mean, stats.sem(values)), rel=1e-6)
    assert mean_interval(values, [3.0] * 30) == pytest.approx((mean, low, high))
    assert mean_interval([2.0], [5]) == (2.0, -math.inf, math.inf)


def test_the_interval_of_a_weighted_mean_holds_the_truth_19_times_in_20():
    draw, held = random.Random(0), 0
    for _ in range(1000):
        weights = [draw.randint(1, 9) for _ in range(40)]
        values = [2 + draw.gauss(0, 1) / math.sqrt(weight) for weight in weights]
        _, low, high = mean_interval(values, weights)
        held += low <= 2 <= high
    assert 920 <= held <= 975


@pytest.mark.parametrize(("right", "count"), [(1, 0), (-1, 3), (4, 3), (0, 0)])
def test_what_is_no_share_is_refused(right, count):
    with pytest.raises(ValueError, match=f"right={right} of count={count} is no share"):
        share_interval(right, count)


def test_no_value_has_no_mean():
    for values, weights in (([], None), ([1.0], [0])):
        with pytest.raises(ValueError, match="no value that counts"):
            mean_interval(values, weights)


def test_a_few_scores_have_students_interval():
    stats = pytest.importorskip("scipy.stats")
    for scores in ([0.75, 0.71, 0.78], [0.2, 0.8], [2.01, 2.05, 1.98, 2.11, 2.0]):
        mean, half = few_interval(scores)
        low, high = stats.t.interval(0.95, len(scores) - 1, loc=mean, scale=stats.sem(scores))
        assert (mean - half, mean + half) == pytest.approx((low, high), rel=1e-3)
    assert {n: round(stats.t.ppf(0.975, n), 3) for n in STUDENT_T} == STUDENT_T


@pytest.mark.parametrize("scores", [[], [0.5], [0.5] * 11])
def test_scores_that_are_no_few_are_refused(scores):
    with pytest.raises(ValueError, match="are no few. Use 2 to 10"):
        few_interval(scores)
