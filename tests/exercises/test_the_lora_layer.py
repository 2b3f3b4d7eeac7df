"""Notebook 02's checks: the reference passes, the stub is TODO, each usual mistake is told."""

from fractions import Fraction

from lora_teach import LoRALayer
from lora_teach.exercises import TODO, check_count_layer, check_delta_weight

import numpy as np
import pytest
import torch


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


@pytest.mark.parametrize(
    "right",
    [
        lambda a, b, c: a * c + c * b,
        lambda i, o, r: Fraction(r * (i + o)),
        lambda i, o, r: torch.tensor(r * (i + o)),
        lambda i, o, r: np.int64(r) * np.int64(i + o),
        lambda i, o, r: float(r * i) + float(r * o),
        lambda *sizes: sum(one.numel() for one in LoRALayer(*sizes).parameters()),
        lambda i, o, r: torch.empty(i, r, device="meta").numel() + torch.empty(r, o, device="meta").numel(),
        lambda i, o, r: np.array([r * (i + o)]),
    ],
)
def test_unusual_right_counts_pass(right):
    result = check_count_layer(right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    "wrong",
    [
        lambda i, o, r: {96: 1920, 768: 12288, 10: 13}[i],  # by heart
        lambda i, o, r: r * (i + o) + 1e-3,
        lambda i, o, r: r * (i + o) - 1,
        lambda i, o, r: i * r + o,
        lambda i, o, r: 2 * r * min(i, o),
        lambda i, o, r: 4 * (i + o),  # right for rank 4
        lambda i, o, r: [i * r, r * o],
        lambda i, o, r: str(r * (i + o)),
        lambda i, o, r: print(r * (i + o)),
        lambda i, o, r: ((i * r, r * o) for _ in "1"),
        lambda i, o: i + o,
        lambda i, o, r: True,
    ],
)
def test_wrong_counts_do_not_pass(wrong):
    assert check_count_layer(wrong).status == "NOT YET"


@pytest.mark.parametrize(
    "right",
    [
        lambda A, B, s: torch.einsum("ir,ro->oi", A, B) * s,
        lambda A, B, s: (A.numpy() @ B.numpy()).T * s,
        lambda first, second, factor: factor * second.T @ first.T,
        lambda A, B, s: s * (A.double() @ B.double()).mT,
        lambda A, B, s: torch.zeros(B.shape[1], A.shape[0]).addmm(B.T, A.T, alpha=s),
        lambda A, B, s: (s * torch.eye(len(A)) @ A @ B).T.tolist(),
        lambda A, B, s: torch.nn.Parameter(s * (A @ B).T),
        lambda A, B, s: torch.nn.functional.linear(B.T, A) * s,
        lambda A, B, s: s * sum(torch.outer(b, a) for a, b in zip(A.T, B, strict=True)),
    ],
)
def test_unusual_right_delta_weights_pass(right):
    result = check_delta_weight(right)
    assert result.passed, result.message


def square_only(A, B, s):
    return s * (A @ B).T if A.shape[0] == B.shape[1] else s * A @ B


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (square_only, "A square layer can't tell"),
        (lambda A, B, s: 3.0 * (A @ B).T, "another number now"),
        (lambda A, B, s: s / A.shape[1] * (A @ B).T, "the rank divides it once"),
        (lambda A, B, s: A.mul_(s) @ B, "changed its input A in place"),
        (lambda A, B, s: (A.mul_(s) @ B).T, "changed its input A in place"),
        (lambda A, B, s: (s * A @ B).reshape(B.shape[1], A.shape[0]), "differ most"),
        (lambda A, B, s: -s * (A @ B).T, "-1 times"),
        (lambda A, B, s: abs(s) * (A @ B).T, "-1 times"),
        (lambda A, B, s: (s * (A @ B).T,), "type tuple"),
        (lambda A, B, s: s * (A @ B).T + 0.01, "differ most"),
        (lambda A, B, s: s * (A @ B).T.int(), "differ most"),
        (lambda A, B, s: s * (A[:, :1] @ B[:1]).T, "differ most"),
        (lambda A, B, s: s * (A @ B).T.sum(), "The shape is ()"),
    ],
)
def test_wrong_delta_weights_do_not_pass(wrong, words):
    result = check_delta_weight(wrong)
    assert result.status == "NOT YET" and words in result.message
