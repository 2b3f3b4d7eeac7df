"""Notebook 10's checks: the reference passes, the stub is TODO, each usual mistake is told."""

from lora_teach.exercises import TODO, check_count_q_v, check_smallest_batch
from lora_teach.measure.predicted_memory import predict_memory

import pytest


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
