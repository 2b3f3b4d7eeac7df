"""Notebook 05's checks: the reference passes, the stub is TODO, each usual mistake is told."""

from fractions import Fraction
from itertools import product
from statistics import mean

from lora_teach.datasets import digits
from lora_teach.exercises import TODO, check_black_paper, check_same_run
from lora_teach.exercises.rank_and_alpha import Trainer
from lora_teach.measure.separate_rates import EPS, train_separate_rates

import numpy as np
import pytest
import torch


def same_run(s, size_A, lr_A, lr_B, new_s, new_size_A):
    return lr_A * new_size_A / size_A, lr_B * s * size_A / (new_s * new_size_A)


def changed(A=lambda rate, f, c: rate * c, B=lambda rate, f, c: rate / f / c):
    """An answer by what happens to each rate; f and c are how many times as large s and A have become."""
    return lambda s, size, a, b, new_s, new_size: (A(a, new_s / s, new_size / size), B(b, new_s / s, new_size / size))


def test_the_right_rates_pass_and_the_stub_is_todo():
    assert check_same_run(same_run).passed
    assert check_same_run(lambda *given: TODO).status == "TODO"
    assert check_same_run(lambda *given: (same_run(*given)[0], TODO)).status == "TODO"


def test_the_right_rates_make_the_same_run():
    split = digits.rotated(90)
    lr_A, lr_B = same_run(1.0, 1.0, 0.01, 0.01, 0.5, 3.0)
    losses = train_separate_rates(split, steps=30).loss
    given = {"factor": 0.5, "size_A": 3.0, "lr_A": lr_A, "lr_B": lr_B, "eps_A": EPS / 1.5, "eps_B": EPS * 1.5}
    assert train_separate_rates(split, steps=30, **given).loss == pytest.approx(losses, abs=1e-3)


@pytest.mark.parametrize(
    "right",
    [
        lambda *given: list(same_run(*given)),
        lambda *given: torch.tensor(same_run(*given), dtype=torch.float64),
        lambda *given: np.array(same_run(*given)),
        lambda *given: tuple(Fraction(rate) for rate in same_run(*given)),
        changed(),
        lambda s, size, a, b, t, new: (new * (a / size), (s * size * b) / t / new),
    ],
)
def test_unusual_right_rates_pass(right):
    result = check_same_run(right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (changed(A=lambda a, f, c: a), "A's rate: lr_A / σ_A has changed"),
        (changed(B=lambda b, f, c: b), "B's rate: s · σ_A · lr_B has changed"),
        (changed(B=lambda b, f, c: b / f), "the size of A is in"),
        (changed(B=lambda b, f, c: b / c), "s is in s · σ_A · lr_B as well"),
        (changed(A=lambda a, f, c: a / c), "A's rate is upside down"),
        (changed(B=lambda b, f, c: b * f * c), "B's rate is upside down"),
        (changed(A=lambda a, f, c: a * c / f), "s has no part in it"),
        (changed(A=lambda a, f, c: a * c * f), "s has no part in it"),
        (lambda *given: same_run(*given)[::-1], "the wrong way round"),
        (lambda s, size, a, b, *new: (a / size, s * size * b), "Those are the two numbers"),
        (lambda *given: same_run(*given)[0], "Two rates are wanted"),
        (lambda *given: given[2:4], "Nothing was changed"),
        (lambda *given: None, "is a return missing"),
        (lambda *given: (*same_run(*given), 0.0), "expected"),
        (lambda *given: tuple(1.01 * rate for rate in same_run(*given)), "expected"),
        (lambda *given: (0.04, 0.01), "case 1 of 6"),
    ],
)
def test_wrong_rates_are_told(wrong, words):
    result = check_same_run(wrong)
    assert result.status == "NOT YET" and words in result.message


def search(train):
    tried = {(8, alpha, lr): train(8, alpha, lr) for alpha in (8, 32, 128, 512) for lr in (0.003, 0.01)}
    return max(tried, key=tried.get)


def one_after_the_other(train):
    best = (8, 8, 0.003)
    score = train(*best)
    for place, values in ((1, (32, 128, 512)), (2, (0.01, 0.001)), (0, (4, 16))):
        for value in values:
            now = (*best[:place], value, *best[place + 1 :])
            if (other := train(*now)) > score:
                best, score = now, other
    return best


def over(*places, pick=max):
    """A search that tries these, and takes the best on the validation digits."""

    def tries(train):
        tried = {place: train(*place) for place in places}
        return pick(tried, key=tried.get)

    return tries


def test_a_search_passes_and_says_what_it_found():
    result = check_black_paper(search)
    assert result.passed and "rank 8, α = 512, lr 0.003: 88% of the test digits" in result.message
    assert "found in 8 runs" in result.message
    assert check_black_paper(lambda train: TODO).status == "TODO"
    assert check_black_paper(lambda train: (8, TODO, 0.003)).status == "TODO"


def twice(train):
    for _ in range(20):  # the same run again costs nothing
        train(rank=16, alpha=512, lr=3e-3)
    return [16, 512, 3e-3]


def by_keyword(train):
    return max(product([8], [128, 512], [0.003, 0.001]), key=lambda one: train(rank=one[0], alpha=one[1], lr=one[2]))


@pytest.mark.parametrize(
    "right",
    [
        one_after_the_other,
        twice,
        by_keyword,
        over((4, 512, 0.001), (4, 512, 0.003)),
        lambda train: tuple(np.array([32, 512, 0.003])) if train(32, 512.0, 0.003) else None,
        lambda train: [place for place in [(8, 512, 0.003)] if train(*place) > 0.5][0],
    ],
)
def test_unusual_right_searches_pass(right):
    result = check_black_paper(right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (over(*product((1, 2, 4), (8, 32), (0.001, 0.003))), "That was run 9; 8 are all you have"),
        (over(*product((1, 2, 4, 8, 16, 32), (8,), (0.01,))), "Alpha was 8 in every run"),
        (over(*product((4, 8), (128, 512), (0.01,))), "The learning rate was 0.01 in every run"),
        (over((1, 128, 0.003), (1, 512, 0.003)), "At rank 1 no alpha"),
        (over((16, 32, 0.001), (16, 128, 0.01)), "never left chance"),
        (over((8, 32, 0.003), (8, 128, 0.003), (8, 128, 0.001)), "never left chance"),
        (over((4, 32, 0.003), (2, 128, 0.003)), "With α = 128 no rank"),
        (over((2, 512, 0.001), (2, 512, 0.003), (2, 128, 0.003)), "Alpha is right"),
        (over(*product((8,), (8, 512), (0.003,)), pick=min), "Another of your runs was better"),
        (lambda train: (8, 512, 0.003), "Nothing was trained"),
        (lambda train: (8, 512, 0.003) if train(8, 8, 0.003) else None, "never trained"),
        (lambda train: (512, 8, 0.003) if train(8, 512, 0.003) else None, "The order is rank, alpha, learning rate"),
        (lambda train: train(8, 512, 0.003), "Return three numbers"),
        (lambda train: search(train) and None, "Return three numbers"),
        (lambda train: train(8, 256, 0.003), "no run with alpha=256. Use one of 8, 32, 128, 512"),
        (lambda train: train(8, 512), "raised TypeError"),
        (lambda train: train(64, 512, 0.003), "no run with rank=64"),
        (lambda train: ("8", 512, 0.003) if train(8, 512, 0.003) else None, "never trained"),
    ],
)
def test_wrong_searches_are_told(wrong, words):
    result = check_black_paper(wrong)
    assert result.status == "NOT YET" and words in result.message, result.message


def test_a_run_that_is_refused_cannot_be_swallowed():
    def stubborn(train):
        tried = {}
        for place in product((8, 16), (8, 32, 128, 512), (0.003, 0.01)):
            try:
                tried[place] = train(*place)
            except Exception:
                pass
        return max(tried, key=tried.get)

    result = check_black_paper(stubborn)
    assert result.status == "NOT YET" and "That was run 9" in result.message


def test_the_failing_search_can_be_called_again():
    assert check_black_paper(over((1, 8, 0.001))).status == "NOT YET"
    (train,) = check_black_paper.last_input
    assert train(8, 512, 0.003) > 0.8 and len(train.tried) == 1


def test_what_the_advice_says_of_the_grid_is_so():
    trainer = Trainer()
    means = {place: mean(entry["test"]) for place, entry in trainer.results.items()}
    assert max(share for place, share in means.items() if place.split()[0] == "1") < 0.25
    assert max(share for place, share in means.items() if place.split()[1] != "512") < 0.8
    good = {place for place, share in means.items() if share >= 0.8}
    assert good == {f"{rank} 512 0.003" for rank in (4, 8, 16, 32)}
