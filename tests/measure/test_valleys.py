"""Valleys: what a bottom is, in which order the runs come, and what the rule of scaling does to the bottoms."""

from itertools import islice
from math import inf

import pytest

from lora_teach.datasets import digits
from lora_teach.measure.retraining import retrain
from lora_teach.pictures.valleys.numbers import (
    LEARNING_RATES,
    RANKS,
    Run,
    Sweep,
    coarse_to_fine,
    measure_valleys,
    spoken,
    valley_runs,
)

TURNED = digits.rotated(30)


def sweep(losses, lrs=(0.01, 0.018, 0.032)):
    made = Sweep(ranks=[4], lrs=lrs)
    for lr, loss in zip(lrs, losses, strict=False):
        made.add(Run(4, lr, loss))
    return made


def test_a_run_is_a_retraining_under_this_rule():
    runs = list(valley_runs("alpha", alpha=2, ranks=[1, 8], lrs=[0.01, 0.001], seed=3, steps=25))
    assert [run[:2] for run in runs] == [(1, 0.01), (8, 0.01), (1, 0.001), (8, 0.001)]
    for run in runs:
        again = retrain(TURNED, run.rank, lr=run.lr, steps=25, seed=3, scaling="alpha", alpha=2)
        assert run.loss == again.final_loss


def test_other_digits_are_used_when_they_are_given():
    (turned,) = valley_runs(ranks=[4], lrs=[0.01], steps=25)
    (upright,) = valley_runs(ranks=[4], lrs=[0.01], steps=25, digits=digits.upright())
    assert upright.loss < turned.loss / 2


@pytest.mark.parametrize("count", range(1, 14))
def test_coarse_to_fine_takes_each_value_once_and_middle_and_ends_first(count):
    order = coarse_to_fine(list(range(count)))
    assert sorted(order) == list(range(count))
    assert set(order[:3]) == {0, count // 2, count - 1}


def test_whoever_stops_early_has_three_points_of_every_valley():
    runs = islice(valley_runs(steps=1), 3 * len(RANKS))
    assert {(run.rank, run.lr) for run in runs} == {(rank, lr) for rank in RANKS for lr in (0.001, 0.01, 0.1)}


def test_the_bottom_is_where_a_run_and_its_neighbours_are_lowest_together():
    lucky = sweep([0.5, 0.4, 0.07, 0.4, 0.09, 0.08, 0.09, 0.5, 0.9], LEARNING_RATES)
    assert lucky.bottom(4) == 0.018  # not 0.0032, which was a lucky run
    assert lucky.bottoms() == {4: 0.018} and lucky.spread() is None
    apart = sweep([0.5, 0.06, 0.4, 0.09], (0.001, 0.003, 0.01, 0.03))
    assert apart.bottom(4) == 0.003  # more than a factor of 2 apart, nobody is a neighbour


def test_a_run_that_blew_up_is_no_bottom_and_spoils_its_neighbours():
    assert sweep([0.4, 0.1, 0.3, inf, inf], (0.01, 0.018, 0.032, 0.056, 0.1)).bottom(4) == 0.018
    assert sweep([0.4, 0.2, 0.1, inf, inf], (0.01, 0.018, 0.032, 0.056, 0.1)).bottom(4) == 0.018  # 0.032 is at the edge
    assert sweep([inf, inf, inf]).bottom(4) is None


def test_no_bottom_is_known_before_all_runs_of_its_rank_have_ended():
    part = sweep([0.3, 0.2])
    assert part.bottom(4) is None and part.bottoms() == {} and part.spread() is None
    assert len(part) == 2 and part.planned == 3
    assert part.line(4) == [(0.01, 0.3), (0.018, 0.2)] and part.line(64) == []


def test_the_spread_is_the_factor_between_the_outermost_bottoms():
    made = Sweep(ranks=[1, 4], lrs=[0.001, 0.01])
    for run in ((1, 0.001, 2.0), (1, 0.01, 1.0), (4, 0.001, 0.5), (4, 0.01, 2.0)):
        made.add(Run(*run))
    assert made.bottoms() == {1: 0.01, 4: 0.001} and made.spread() == pytest.approx(10)
    assert made.above_lowest(1, 0.001) == 2 and made.above_lowest(4, 0.01) == 4 and made.above_lowest(4, 0.001) == 1


def test_each_rule_has_a_name_with_its_number():
    assert Sweep().rule == "α/r, α = 8"
    assert Sweep("alpha/sqrt(r)", 4.0).rule == "α/√r, α = 4"
    assert Sweep("alpha", 0.01).rule == "constant 0.01"


def test_numbers_are_spoken_with_two_digits_and_without_powers_of_ten():
    assert [spoken(lr) for lr in LEARNING_RATES[:5]] == ["0.001", "0.0018", "0.0032", "0.0056", "0.01"]
    assert [spoken(factor) for factor in (1.0, 5.714, 9.96, 44.4, 10)] == ["1", "5.7", "10", "44", "10"]


def test_the_bottom_stays_under_alpha_over_r_and_moves_under_a_constant():
    """With the outer ranks alone, where the bottoms lie; on two seeds."""
    lrs = (0.0056, 0.01, 0.018, 0.032)
    for seed in (0, 1):
        stays = measure_valleys(ranks=(1, 64), lrs=lrs, seed=seed)
        moves = measure_valleys("alpha", alpha=1, ranks=(1, 64), lrs=lrs, seed=seed)
        assert stays.bottom(1) <= stays.bottom(64)
        assert moves.bottom(1) / moves.bottom(64) > 3
        assert moves.above_lowest(64, moves.bottom(1)) > 3  # rank 1's learning rate spoils rank 64
        assert stays.above_lowest(64, stays.bottom(1)) < 2.5
