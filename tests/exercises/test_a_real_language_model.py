"""The checks of notebook 07 know the solution, the stub and the usual mistakes."""

import math

from lora_teach.exercises.a_real_language_model import check_break_even, check_completion_labels

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
