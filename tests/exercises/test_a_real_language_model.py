"""The checks of notebook 07 know the solution, the stub and the usual mistakes."""

import math
from fractions import Fraction

from lora_teach.exercises.a_real_language_model import check_break_even, check_completion_labels

import numpy as np
import pytest
import torch


def labels(ids, prompt_length, end):
    stop = ids.index(end, prompt_length) + 1
    return [-100] * prompt_length + ids[prompt_length:stop] + [-100] * (len(ids) - stop)


def without_its_end(ids, prompt_length, end):
    return [-100] * prompt_length + [-100 if token == end else token for token in ids[prompt_length:]]


def with_its_padding(ids, prompt_length, end):
    return [-100] * prompt_length + ids[prompt_length:]


def with_the_prompt(ids, prompt_length, end):
    stop = ids.index(end, prompt_length) + 1
    return ids[:stop] + [-100] * (len(ids) - stop)


def to_the_prompts_end(ids, prompt_length, end):
    return [token if prompt_length <= place <= ids.index(end) else -100 for place, token in enumerate(ids)]


def sliced_at_the_prompts_end(ids, prompt_length, end):
    stop = ids.index(end) + 1
    return [-100] * prompt_length + ids[prompt_length:stop] + [-100] * (len(ids) - stop)


def test_labels_pass():
    assert check_completion_labels(labels).passed
    assert check_completion_labels(lambda *given: torch.tensor(labels(*given))).passed


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        pytest.param(without_its_end, "never to stop", id="end masked with the padding"),
        pytest.param(lambda i, p, e: [*labels(i, p, e)[1:], -100], "shifted by one", id="shifted"),
        pytest.param(lambda i, p, e: [-100, *labels(i, p, e)[:-1]], "shifted by one", id="shifted the other way"),
        pytest.param(lambda i, p, e: labels(i, p - 1, e), "prompt's last token", id="one early"),
        pytest.param(lambda i, p, e: labels(i, p + 1, e), "first token doesn't count", id="one late"),
        pytest.param(with_its_padding, "padding counts", id="padding"),
        pytest.param(with_the_prompt, "taught to ask", id="prompt"),
        pytest.param(lambda i, p, e: i, "Everything counts", id="all"),
        pytest.param(
            lambda i, p, e: [max(one, 0) for one in labels(i, p, e)], "what doesn't count is -100", id="zeros"
        ),
        pytest.param(to_the_prompts_end, "from the row's beginning", id="first end mark"),
        pytest.param(lambda i, p, e: labels(i, p, e)[:-1], "one for each token", id="too short"),
        pytest.param(lambda i, p, e: 3, "Return a list", id="no list"),
        pytest.param(sliced_at_the_prompts_end, "from the row's beginning", id="first end mark, sliced"),
        pytest.param(lambda i, p, e: [one != -100 for one in labels(i, p, e)], "Yes or no", id="yes or no"),
        pytest.param(lambda i, p, e: i[:p] + [-100] * (len(i) - p), "wrong way round", id="the wrong way round"),
    ],
)
def test_labels_mistakes(wrong, said):
    result = check_completion_labels(wrong)
    assert result.status == "NOT YET" and said in result.message


def break_even(training, with_examples, with_adapter):
    saved = with_examples - with_adapter
    return math.ceil(training / saved) if saved > 0 else None


def test_break_even_passes():
    assert check_break_even(break_even).passed


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        pytest.param(lambda t, e, a: math.ceil(t / e), "leaves out that a sheet by the adapter", id="adapter free"),
        pytest.param(lambda t, e, a: t // (e - a), "Rounded down", id="down"),
        pytest.param(lambda t, e, a: t // (e - a) + 1, "cost the same", id="one more"),
        pytest.param(lambda t, e, a: t / (e - a), "round up", id="not whole"),
        pytest.param(lambda t, e, a: math.ceil(t / (a - e)) if a > e else None, "saves 10 seconds", id="swapped"),
        pytest.param(lambda t, e, a: math.ceil(t / (e + a)), "difference of the two", id="sum"),
        pytest.param(lambda t, e, a: math.ceil(t / (e - a)), "ZeroDivisionError", id="never, divided"),
        pytest.param(
            lambda t, e, a: math.ceil(t / (e - a)) if e != a else None, "never pays for itself", id="never, negative"
        ),
    ],
)
def test_break_even_mistakes(wrong, said):
    result = check_break_even(wrong)
    assert result.status == "NOT YET" and said in result.message


def one_by_one(row, start, mark):
    out, ended = [], False
    for place, token in enumerate(row):
        counts = place >= start and not ended
        out.append(token if counts else -100)
        ended = ended or (counts and token == mark)
    return out


def by_tensor(ids, prompt_length, end):
    row, places = torch.tensor(ids), torch.arange(len(ids))
    ends = ((row == end) & (places >= prompt_length)).cumsum(0)
    return torch.where((places >= prompt_length) & ((ends == 0) | ((ends == 1) & (row == end))), row, -100)


@pytest.mark.parametrize(
    "right",
    [
        one_by_one,
        by_tensor,
        lambda *given: np.array(labels(*given)),
        lambda *given: tuple(labels(*given)),
        lambda *given: [float(label) for label in labels(*given)],
        lambda *given: [torch.tensor(label) for label in labels(*given)],
        lambda *given: np.array(labels(*given), dtype=np.int32),
    ],
)
def test_unusual_right_labels_pass(right):
    result = check_completion_labels(right)
    assert result.passed, result.message


def the_second_end_mark(ids, prompt_length, end):
    places = [place for place, token in enumerate(ids) if token == end]
    stop = places[1] + 1
    return [token if prompt_length <= place < stop else -100 for place, token in enumerate(ids)]


def the_last_end_mark(ids, prompt_length, end):
    return labels(ids, len(ids) - 1, end)


def in_place(ids, prompt_length, end):
    ids[:] = labels(ids, prompt_length, end)
    return ids


def ids_aligned_from_behind(ids, prompt_length, end):
    right = [token for token in labels(ids, prompt_length, end) if token != -100]
    return [-100] * (len(ids) - len(right)) + right


@pytest.mark.parametrize(
    "wrong",
    [
        the_second_end_mark,
        the_last_end_mark,
        in_place,
        ids_aligned_from_behind,
        lambda ids, prompt_length, end: labels(ids, prompt_length, 2),  # the end mark by heart
        lambda ids, prompt_length, end: labels(ids, 4, end),
        lambda *given: [label or 1 for label in labels(*given)],
        lambda *given: [str(label) for label in labels(*given)],
        lambda *given: [-1 if label == -100 else label for label in labels(*given)],
        lambda *given: [label + 1e-3 for label in labels(*given)],
        lambda *given: [labels(*given)],
        lambda *given: torch.tensor(labels(*given)).bool(),
        lambda *given: dict(enumerate(labels(*given))),
        lambda *given: (label for label in labels(*given)),
        lambda *given: [label for label in labels(*given) if label != -100],
        lambda ids, prompt_length, end: [-100] * prompt_length + ids[prompt_length : ids.index(end, prompt_length)],
    ],
)
def test_wrong_labels_do_not_pass(wrong):
    assert check_completion_labels(wrong).status == "NOT YET"


def by_counting(training, with_examples, with_adapter):
    if with_adapter >= with_examples:
        return None
    sheets = 0
    while training + sheets * with_adapter > sheets * with_examples:
        sheets += 1
    return sheets


@pytest.mark.parametrize(
    "right",
    [
        by_counting,
        lambda t, e, a: -(-t // (e - a)) if e > a else None,
        lambda t, e, a: np.ceil(t / (e - a)) if e > a else None,
        lambda t, e, a: torch.ceil(torch.tensor(t / (e - a))) if e > a else None,
        lambda cost, slow, fast: Fraction(math.ceil(Fraction(cost) / Fraction(slow - fast))) if slow > fast else None,
        lambda t, e, a: None if a >= e else next(n for n in range(10_000) if n * (e - a) >= t),
    ],
)
def test_unusual_right_numbers_of_sheets_pass(right):
    result = check_break_even(right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    "wrong",
    [
        lambda t, e, a: (t + (e - a) - 1) // (e - a) if e > a else None,  # whole seconds only
        lambda t, e, a: -(-int(t) // max(int(e - a), 1)) if e > a else None,
        lambda t, e, a: round(t / (e - a)) if e > a else None,
        lambda t, e, a: math.ceil(t / (e - a)) if e > a else float("inf"),
        lambda t, e, a: math.ceil(t / (e - a)) if e > a else 0,
        lambda t, e, a: math.ceil(t / (e - a)) if e > a else -1,
        lambda t, e, a: math.ceil(t / 10) if e > a else None,
        lambda t, e, a: math.ceil(t / abs(e - a)) if e != a else None,
        lambda t, e, a: math.ceil(t / (e - a)) + 1 if e > a else None,
        lambda t, e, a: str(math.ceil(t / (e - a))) if e > a else None,
        lambda t, e, a: math.ceil(t / (e - a)) if e > a else "never",
        lambda t, e, a: math.ceil(t / a) if e > a else None,
        lambda t, e, a: math.ceil((t + e) / (e - a)) if e > a else None,
        lambda t, e, a: {95: 10, 100: 10, 60: 20, 1: 1}[t] if e > a else None,
        lambda t, e, a: None,
        lambda t, e, a: print(math.ceil(t / (e - a))),
    ],
)
def test_wrong_numbers_of_sheets_do_not_pass(wrong):
    assert check_break_even(wrong).status == "NOT YET"
