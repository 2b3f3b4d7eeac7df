import copy
from fractions import Fraction
from statistics import mean

from lora_teach.bases import sample_names
from lora_teach.datasets import names
from lora_teach.exercises import TODO, check_tipping_point

import numpy as np
import pytest
import torch

ENGLISH, FINNISH = (names.Judge(names.load(language).train) for language in ("English", "Finnish"))


def surprises(model, noise, strength):
    model.set_adapter({"Finnish": strength})
    written = sample_names(model, noise)
    return mean(map(ENGLISH.surprise, written)), mean(map(FINNISH.surprise, written))


def solution(model, noise):
    for tenth in range(31):
        english, finnish = surprises(model, noise, tenth / 10)
        if finnish < english:
            return tenth / 10


def pooled(model, noise):
    """Letters pooled over the names, which is a mean as good as the mean of the names' means."""
    for tenth in range(31):
        model.set_adapter({"Finnish": tenth / 10})
        written = sample_names(model, noise)
        if sum(sum(FINNISH.letters(name)) for name in written) < sum(sum(ENGLISH.letters(name)) for name in written):
            return tenth / 10


@pytest.mark.parametrize("solve", [solution, pooled])
def test_solutions_pass(solve):
    result = check_tipping_point(solve)
    assert result.passed and "tip over at ×" in result.message


def blank(model, noise):
    for tenth in range(31):
        strength = tenth / 10
        written = TODO
        if mean(map(FINNISH.surprise, written)) < TODO:
            return strength


@pytest.mark.parametrize("stub", [TODO, blank])
def test_stubs_are_todo(stub):
    assert check_tipping_point(stub).status == "TODO"


def forgotten(model, noise):
    """Never sets the strength."""
    for tenth in range(31):
        written = sample_names(model, noise)
        if mean(map(FINNISH.surprise, written)) < mean(map(ENGLISH.surprise, written)):
            return tenth / 10


def turned_round(model, noise):
    return next(tenth / 10 for tenth in range(31) if not solution_at(model, noise, tenth))


def solution_at(model, noise, tenth):
    english, finnish = surprises(model, noise, tenth / 10)
    return finnish < english


def early(model, noise):
    return solution(model, noise) - 0.1


def late(model, noise):
    """Writes the names, then sets the strength."""
    for tenth in range(31):
        written = sample_names(model, noise)
        model.set_adapter({"Finnish": tenth / 10})
        if mean(map(FINNISH.surprise, written)) < mean(map(ENGLISH.surprise, written)):
            return tenth / 10


def at_full_strength(model, noise):
    """Turns the adapter on, without the number."""
    model.set_adapter("Finnish")
    return forgotten(model, noise)


def happiest(model, noise):
    return min(range(31), key=lambda tenth: surprises(model, noise, tenth / 10)[1]) / 10


def last(model, noise):
    return [tenth / 10 for tenth in range(31) if solution_at(model, noise, tenth)][-1]


def step(model, noise):
    return round(10 * solution(model, noise))


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (forgotten, "No strength was returned"),
        (turned_round, "wrong way round"),
        (early, "One step early"),
        (late, "One step late"),
        (at_full_strength, "on at full strength"),
        (happiest, "There the Finnish judge is happiest"),
        (last, "return from within the loop"),
        (step, "the number of the step"),
        (lambda model, noise: model.set_adapter("finnish"), "there is no adapter 'finnish'"),
    ],
)
def test_usual_mistakes_are_named(mistake, words):
    result = check_tipping_point(mistake)
    assert result.status == "NOT YET" and words in result.message


def test_the_two_sets_of_names_tip_over_at_different_strengths():
    first, second = check_tipping_point(solution).message.removesuffix(".").split("at ×")[1:]
    assert first.split()[0] != second


def tidying(model, noise):
    strength = solution(model, noise)
    model.set_adapter(None)
    return strength


@pytest.mark.parametrize(
    "right",
    [
        tidying,
        lambda model, noise: Fraction(round(10 * solution(model, noise)), 10),
        lambda model, noise: torch.tensor(solution(copy.deepcopy(model), noise)),
        lambda network, draws: np.float32(solution(network, draws)),
        lambda model, noise: next(t * 0.1 for t in range(31) if solution_at(model, noise, t)),
    ],
)
def test_unusual_right_solutions_pass(right):
    result = check_tipping_point(right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    "wrong",
    [
        lambda model, noise: 0.5,
        lambda model, noise: str(solution(model, noise)),
        lambda model, noise: [solution(model, noise)],
        lambda model, noise: -solution(model, noise),
        lambda model, noise: solution(model, noise[:1]),
        lambda model, noise: solution(model, noise.zero_()),
        lambda model, noise: 1.0,
        lambda model, noise: solution(model, noise) + 0.05,
        lambda model, noise: True,
    ],
)
def test_wrong_tipping_points_do_not_pass(wrong):
    assert check_tipping_point(wrong).status == "NOT YET"
