"""Notebook 10's checks: the reference passes, the stub is TODO, each usual mistake is told."""

import itertools
from fractions import Fraction

from lora_teach import LoRALayer
from lora_teach.exercises import TODO, check_count_q_v, check_smallest_batch
from lora_teach.measure.predicted_memory import predict_memory

import numpy as np
import pytest
import torch
from torch import nn


def count_q_v(width, heads, kv_heads, layers, rank):
    narrow = width // heads * kv_heads
    return layers * rank * ((width + width) + (width + narrow))


def ratio(model, targets, batch, seq_len, rank, part="total"):
    full = predict_memory(model, batch, seq_len)
    lora = predict_memory(model, batch, seq_len, rank=rank, target_modules=targets)
    return getattr(full, part) / getattr(lora, part)


def smallest_batch(model, targets, seq_len, rank, limit):
    batch = 1
    while ratio(model, targets, batch, seq_len, rank) >= limit:
        batch += 1
    return batch


def test_the_reference_solutions_pass():
    assert check_count_q_v(count_q_v).passed
    assert check_smallest_batch(smallest_batch).passed


def test_the_stubs_are_todo():
    def stub(width, heads, kv_heads, layers, rank):
        q = rank * (width + width)
        return layers * (q + TODO)

    assert check_count_q_v(stub).status == "TODO"
    assert check_smallest_batch(lambda model, targets, seq_len, rank, limit: TODO).status == "TODO"


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda d, h, kv, n, r: n * r * 4 * d, "not square"),
        (lambda d, h, kv, n, r: r * (3 * d + d // h * kv), "one layer"),
        (lambda d, h, kv, n, r: n * r * 2 * d, "q alone"),
        (lambda d, h, kv, n, r: n * r * (d + d // h * kv), "v alone"),
        (lambda d, h, kv, n, r: n * r * 2 * (d + d // h * kv), "q is square"),
        (lambda d, h, kv, n, r: n * r * (3 * d + kv), "counts heads"),
        (lambda d, h, kv, n, r: n * r * (3 * d + d // kv), "kv_heads heads of"),
        (lambda d, h, kv, n, r: n * (3 * d + d // h * kv), "rank is missing"),
        (lambda d, h, kv, n, r: n * (d * d + d * d // h * kv), "frozen weights"),
    ],
)
def test_each_usual_miscount_is_told(mistake, words):
    result = check_count_q_v(mistake)
    assert result.status == "NOT YET" and words in result.message


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda *given: smallest_batch(*given) - 1, "last batch size"),
        (lambda *given: smallest_batch(*given) + 1, "One too many"),
        (lambda *given: 1, "upside down"),
        (lambda *given: given[2] * smallest_batch(*given), "tokens"),
        (lambda *given: ratio(*given[:2], smallest_batch(*given), *given[2:4]), "That is the ratio"),
        (lambda *given: ratio(*given[:2], 1, *given[2:4]), "ratio at a batch of 1"),
        (lambda model, targets, *given: smallest_batch(model, None, *given), "all linear layers"),
        (lambda *given: None, "No batch size"),
    ],
)
def test_each_usual_mistake_about_the_batch_is_told(mistake, words):
    result = check_smallest_batch(mistake)
    assert result.status == "NOT YET" and words in result.message


def by_layers(width, heads, kv_heads, layers, rank):
    with torch.device("meta"):
        pair = [nn.Linear(width, out, bias=False) for out in (width, width // heads * kv_heads)]
        return layers * sum(
            sum(p.numel() for p in LoRALayer(one.in_features, one.out_features, rank).parameters()) for one in pair
        )


@pytest.mark.parametrize(
    "right",
    [
        by_layers,
        lambda *given: float(count_q_v(*given)),
        lambda *given: Fraction(count_q_v(*given)),
        lambda *given: torch.tensor(count_q_v(*given)),
        lambda d, h, kv, n, r: np.int64(n) * r * (3 * d + d * kv // h),
        lambda d, h, kv, n, r: n * r * (3 * d + d / h * kv),
    ],
)
def test_unusual_right_counts_pass(right):
    result = check_count_q_v(right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    "wrong",
    [
        lambda *given: count_q_v(*given) + 1,
        lambda *given: count_q_v(*given) - 1,
        lambda *given: count_q_v(*given) * (1 + 1e-7),
        lambda *given: count_q_v(*given) + given[3],
        lambda d, h, kv, n, r: count_q_v(d, h, kv, 28, r),
        lambda d, h, kv, n, r: count_q_v(d, h, kv, n, 32),
        lambda d, h, kv, n, r: count_q_v(d, h, 8, n, r),
        lambda d, h, kv, n, r: n * r * (3 * d + 128 * kv),
        lambda d, h, kv, n, r: n * r * (3 * d + h * kv),
        lambda *given: f"{count_q_v(*given):,}",
        lambda *given: 9_175_040,
        lambda *given: count_q_v(*given) / 1e6,
        lambda *given: torch.tensor(count_q_v(*given) + 1.0),
    ],
)
def test_wrong_counts_do_not_pass(wrong):
    assert check_count_q_v(wrong).status == "NOT YET"


def by_halving(model, targets, seq_len, rank, limit):
    low, high = 0, 128
    while high - low > 1:
        middle = (low + high) // 2
        below = ratio(model, targets, middle, seq_len, rank) < limit
        low, high = (low, middle) if below else (middle, high)
    return high


@pytest.mark.parametrize(
    "right",
    [
        by_halving,
        lambda *given: float(by_halving(*given)),
        lambda *given: torch.tensor(by_halving(*given)),
        lambda *given: np.int64(by_halving(*given)),
        lambda m, t, s, r, most: next(n for n in itertools.count(1) if ratio(m, t, n, s, r) < most),
    ],
)
def test_unusual_right_batches_pass(right):
    result = check_smallest_batch(right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    "wrong",
    [
        lambda model, targets, seq_len, rank, limit: by_halving(model, targets, 512, rank, limit),
        lambda model, targets, seq_len, rank, limit: by_halving(model, targets, seq_len, 64, limit),
        lambda model, targets, seq_len, rank, limit: by_halving(model, targets, seq_len, rank, 1.5),
        lambda model, targets, seq_len, rank, limit: by_halving(model, ["k_proj"], seq_len, rank, limit),
        lambda *given: by_halving(*given) + 0.01,
        lambda *given: 15,
        lambda *given: range(by_halving(*given)),
        lambda *given: min(by_halving(*given), 20),
        lambda *given: -by_halving(*given),
        lambda *given: str(by_halving(*given)),
    ],
)
def test_wrong_batches_do_not_pass(wrong):
    assert check_smallest_batch(wrong).status == "NOT YET"
