"""Notebook 02's checks: the reference passes, the stub is TODO, each usual mistake is told."""

from lora_teach.exercises import TODO, check_count_layer, check_delta_weight

import pytest


def count(in_features, out_features, rank):
    return rank * (in_features + out_features)


def test_the_reference_solutions_pass():
    assert check_count_layer(count).passed
    assert check_delta_weight(lambda A, B, scaling: scaling * (A @ B).T).passed


def test_the_stubs_are_todo():
    def stub(in_features, out_features, rank):
        return in_features * rank + TODO

    assert check_count_layer(stub).status == "TODO"


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda i, o, r: r * i, "A alone"),
        (lambda i, o, r: r * o, "B alone"),
        (lambda i, o, r: r * (i + o) + o, "bias"),
        (lambda i, o, r: r * i * o, "side by side"),
        (lambda i, o, r: i * o, "frozen weight"),
        (lambda i, o, r: i * o + r * (i + o), "frozen weight"),
        (lambda i, o, r: r * (i + o) + 1, "scaling"),
        (lambda i, o, r: 2 * i * r, "came"),  # right for square layers alone
    ],
)
def test_each_usual_miscount_is_told(mistake, words):
    result = check_count_layer(lambda in_features, out_features, rank: mistake(in_features, out_features, rank))
    assert result.status == "NOT YET" and words in result.message


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda A, B, s: s * A @ B, ".T"),
        (lambda A, B, s: (A @ B).T, "scaling is missing"),
        (lambda A, B, s: A @ B, "scaling is missing"),
        (lambda A, B, s: s * s * (A @ B).T, "twice"),
        (lambda A, B, s: None, "return"),
    ],
)
def test_each_usual_mistake_in_delta_weight_is_told(mistake, words):
    result = check_delta_weight(mistake)
    assert result.status == "NOT YET" and words in result.message
