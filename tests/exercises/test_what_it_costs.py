"""Notebook 10's checks: the reference passes, the stub is TODO, each usual mistake is told."""

from fractions import Fraction

from lora_teach import LoRALayer
from lora_teach.exercises import TODO, check_bytes_held, check_count_q_v
from lora_teach.exercises.what_it_costs import HELD, adapted_shapes, right_bytes
from lora_teach.measure.architectures import build, targets, total_parameters
from lora_teach.measure.predicted_memory import predict_memory

import numpy as np
import pytest
import torch
from torch import nn


def count_q_v(width, heads, kv_heads, layers, rank):
    narrow = width // heads * kv_heads
    return layers * rank * ((width + width) + (width + narrow))


def bytes_held(numbers, shapes, rank, size):
    if rank is None:
        return 4 * numbers * size
    trained = sum(rank * (out + into) for out, into in shapes)
    return numbers * size + 4 * trained * 4


def test_the_reference_solutions_pass():
    assert check_count_q_v(count_q_v).passed
    assert check_bytes_held(bytes_held).passed


def test_the_stubs_are_todo():
    def stub(width, heads, kv_heads, layers, rank):
        q = rank * (width + width)
        return layers * (q + TODO)

    assert check_count_q_v(stub).status == "TODO"
    assert check_bytes_held(lambda numbers, shapes, rank, size: TODO).status == "TODO"
    assert check_bytes_held(lambda numbers, shapes, rank, size: numbers * TODO).status == "TODO"


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


@pytest.mark.parametrize("name, which, rank", [("SmolLM2-135M", "all linear", 8), ("Llama-3.2-3B", "q v", None)])
def test_the_right_bytes_are_what_the_prediction_counts(name, which, rank):
    options = {"rank": rank, "target_modules": targets(name, which)} if rank else {}
    dtype = torch.bfloat16
    predicted = predict_memory(build(name), 1, 4, dtype=dtype, **options)
    held = predicted.weights + predicted.adapters + predicted.gradients + predicted.optimiser
    right = right_bytes(total_parameters(name), adapted_shapes(name, which), rank, dtype.itemsize)
    assert right == pytest.approx(held, rel=1e-4)  # AdamW also counts its steps, four bytes a tensor


def by_parts(numbers, shapes, rank, size):
    if rank is None:
        rank, trained, wide = 0, numbers, size
    else:
        trained, wide = sum(rank * sum(shape) for shape in shapes), 4
    weights = numbers * size + (trained * wide if rank else 0)
    gradients, state = trained * wide, 2 * trained * wide
    return weights + gradients + state


def by_modules(numbers, shapes, rank, size):
    if not rank:
        return numbers * size * 4
    with torch.device("meta"):
        layers = [LoRALayer(into, out, rank) for out, into in shapes]
    return numbers * size + sum(4 * p.numel() * p.itemsize for layer in layers for p in layer.parameters())


@pytest.mark.parametrize(
    "right",
    [
        by_parts,
        by_modules,
        lambda *given: float(bytes_held(*given)),
        lambda *given: Fraction(bytes_held(*given)),
        lambda *given: np.int64(bytes_held(*given)),
        lambda n, shapes, r, size: n * size * 4 if r is None else n * size + 16 * r * int(np.sum(shapes)),
    ],
)
def test_unusual_right_bytes_pass(right):
    result = check_bytes_held(right)
    assert result.passed, result.message
    assert "25.7 GB for full fine-tuning, 6.5 GB for LoRA" in result.message


def lora(answer):
    """The right bytes, but for LoRA; ``answer`` gets the frozen bytes, what trains, the shapes, rank and size."""

    def held(numbers, shapes, rank, size):
        if rank is None:
            return bytes_held(numbers, shapes, rank, size)
        return answer(numbers * size, sum(rank * (out + into) for out, into in shapes), shapes, rank, size)

    return held


def full(answer):
    """The right bytes, but for full fine-tuning; ``answer`` gets the numbers and their size."""
    return lambda n, shapes, rank, size: answer(n, size) if rank is None else bytes_held(n, shapes, rank, size)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lora(lambda frozen, n, *rest: 16 * n), "frozen model still has to be there"),
        (lora(lambda frozen, n, *rest: 4 * frozen), "full fine-tuning's"),
        (lora(lambda frozen, n, *rest: frozen), "frozen model alone"),
        (lora(lambda frozen, n, *rest: frozen + 4 * n), "Gradients and AdamW's numbers"),
        (lora(lambda frozen, n, *rest: frozen + 8 * n), "two numbers for each"),
        (lora(lambda frozen, n, *rest: frozen + 12 * n), "one is missing"),
        (lora(lambda frozen, n, shapes, rank, size: frozen + 4 * n * size), "are float32"),
        (lora(lambda frozen, n, shapes, rank, size: int(frozen / size) * 4 + 16 * n), "takes `size` bytes"),
        (lora(lambda frozen, n, shapes, rank, size: frozen + 16 * rank * sum(i for _, i in shapes)), "A alone"),
        (lora(lambda frozen, n, shapes, rank, size: frozen + 16 * rank * sum(o for o, _ in shapes)), "B alone"),
        (lora(lambda frozen, n, shapes, rank, size: frozen + 16 * n // rank), "The rank is missing"),
        (lora(lambda frozen, n, shapes, *rest: frozen + 16 * sum(o * i for o, i in shapes)), "adapted weights"),
        (lora(lambda frozen, n, *rest: 2 * frozen + 16 * n), "no gradient"),
        (full(lambda n, size: n * size), "weights alone"),
        (full(lambda n, size: 2 * n * size), "AdamW's two numbers"),
        (full(lambda n, size: 3 * n * size), "Three of the four"),
        (full(lambda n, size: n * (size + 12)), "own precision"),
        (full(lambda n, size: 16 * n), "not always four"),
        (lambda *given: bytes_held(*given) / 1e9, "gigabytes"),
        (lambda *given: bytes_held(*given) + 1, "expected"),
        (lambda *given: f"{bytes_held(*given):,}", "type str"),
        (lambda *given: None, "is a return missing"),
        (lambda numbers, shapes, rank, size: shapes.clear() or numbers, "changed its input shapes"),
    ],
)
def test_wrong_bytes_are_told(wrong, words):
    result = check_bytes_held(wrong)
    assert result.status == "NOT YET" and words in result.message, result.message


def test_both_kinds_of_training_and_three_precisions_are_asked_about():
    assert {rank is None for *_, rank, _ in HELD} == {True, False} and {size for *_, size in HELD} == {0.5, 2, 4}
