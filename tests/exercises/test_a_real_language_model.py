"""The checks of notebook 07 know the solution, the stub and the usual mistakes."""

import ast
import json
import math
import statistics
from fractions import Fraction

from lora_teach.exercises import TODO, check_completion_labels, check_grade
from lora_teach.measure.intervals import share_interval

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


def counted(ids, start, stop):
    return [-100] * start + ids[start:stop] + [-100] * (len(ids) - max(start, stop))


def stripped(ids, end):
    return ids if ids[-1] != end else stripped(ids[:-1], end)


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
        pytest.param(lambda i, p, e: counted(i, p, i.index(e, p) + 2), "past the answer's own end mark", id="two ends"),
        pytest.param(lambda i, p, e: counted(i, p, i.index(e, p + 1) + 1), "past the answer's own", id="from p + 1"),
        pytest.param(lambda i, p, e: counted(i, p, len(stripped(i, e)) + 1), "case 6 of 6", id="padding stripped"),
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


def grade(answers, wanted, read=json.loads, z=1.96):
    right = 0
    for text, one in zip(answers, wanted, strict=True):
        try:
            right += read(text) == one
        except ValueError:
            pass
    return right / len(answers), *wilson(right / len(answers), len(answers), z)


def wilson(share, n, z=1.96):
    middle, half = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)


def marks(answers, wanted):
    def mark(text, one):
        try:
            return float(json.loads(text) == one)
        except json.JSONDecodeError:
            return 0.0

    return [mark(*pair) for pair in zip(answers, wanted, strict=True)]


def by_tensor_of_marks(answers, wanted):
    scores = torch.tensor(marks(answers, wanted))
    return torch.tensor([scores.mean(), *wilson(scores.mean().item(), len(scores))])


def by_roots(answers, wanted):
    """Wilson's ends as the shares p at which the observed one lies 1.96 standard errors away: a quadratic's roots."""
    share, n, z2 = sum(marks(answers, wanted)) / len(answers), len(answers), 1.96**2
    return share, *sorted(np.roots([1 + z2 / n, -(2 * share + z2 / n), share**2]).real)


def by_counts(answers, wanted):
    right, n, z = sum(marks(answers, wanted)), len(answers), 1.959964
    root = (z**2 + 4 * right * (n - right) / n) ** 0.5
    return [right / n, *((2 * right + z**2 + sign * z * root) / (2 * (n + z**2)) for sign in (-1, 1))]


@pytest.mark.parametrize(
    "right",
    [
        grade,
        by_tensor_of_marks,
        by_roots,
        by_counts,
        lambda *given: np.array(grade(*given)),
        lambda *given: (Fraction(grade(*given)[0]), *share_interval(round(sum(marks(*given))), len(given[0]))),
        lambda texts, dicts: grade(texts, dicts, z=statistics.NormalDist().inv_cdf(0.975)),
    ],
)
def test_right_grades_pass(right):
    result = check_grade(right)
    assert result.passed, result.message


def share_by(mark):
    """Return a grading by another mark, with the right interval of what it gives."""

    def graded(answers, wanted):
        share = sum(mark(text, one) for text, one in zip(answers, wanted, strict=True)) / len(answers)
        return share, *wilson(share, len(answers))

    return graded


def loaded(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


def literal(text):
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return None


def lowered(got):
    return {key: str(value).lower() for key, value in got.items()} | {"when": got.get("when")} if pairs(got) else got


def texts(got):
    return {key: str(value) for key, value in got.items()} if pairs(got) else got


def pairs(got):
    return got.items() if isinstance(got, dict) else set()


def of_the_valid(answers, wanted):
    valid = [(text, one) for text, one in zip(answers, wanted, strict=True) if isinstance(loaded(text), dict)]
    share = sum(loaded(text) == one for text, one in valid) / max(len(valid), 1)
    return share, *wilson(share, len(answers))


def ends_by(ends):
    """Return a right grading with another interval."""
    return lambda answers, wanted: (grade(answers, wanted)[0], *ends(grade(answers, wanted)[0], len(answers)))


def plain(p, n):
    half = 1.96 * math.sqrt(p * (1 - p) / n)
    return p - half, p + half


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (share_by(lambda text, one: isinstance(loaded(text), dict)), "the share that is right"),
        (share_by(lambda text, one: text == json.dumps(one)), "Other spaces"),
        (share_by(lambda text, one: text.strip() == json.dumps(one)), "Other spaces"),
        (share_by(lambda text, one: (loaded(text) or {}) == one or json.dumps(one) in text), "Text around the JSON"),
        (share_by(lambda text, one: literal(text) == one), "Single quotes"),
        (share_by(lambda text, one: lowered(loaded(text)) == lowered(one)), "to the letter"),
        (share_by(lambda text, one: texts(loaded(text)) == texts(one)), "is not the number 2"),
        (share_by(lambda text, one: bool(pairs(loaded(text))) and {**one, **loaded(text)} == one), "A key is missing"),
        (share_by(lambda text, one: True), "the share is of all"),
        (share_by(lambda text, one: all(key in (loaded(text) or []) for key in one)), "the share that is right"),
        (share_by(lambda text, one: one.items() <= pairs(loaded(text))), "A key too many"),
        (of_the_valid, "the share that is right"),
        (lambda answers, wanted: grade([json.dumps(json.loads(text)) for text in answers], wanted), "JSONDecodeError"),
        (lambda *given: [100 * part for part in grade(*given)], "in percent"),
        (lambda *given: (grade(*given)[0] * len(given[0]), *grade(*given)[1:]), "the share is of all"),
        (lambda *given: grade(*given)[0], "Return share, low, high"),
        (lambda *given: grade(*given)[:2], "Return share, low, high"),
        (ends_by(plain), "has no width"),
        (ends_by(lambda p, n: [min(max(end, 0), 1) for end in plain(p, n)]), "has no width"),
        (ends_by(lambda p, n: wilson(p, n, 1.0)), "68 %"),
        (ends_by(lambda p, n: wilson(p, n, 1.645)), "leaves 5 %"),
        (ends_by(lambda p, n: wilson(p, n, 2.576)), "99 %"),
        (ends_by(lambda p, n: wilson(p, n)[::-1]), "The lower end comes first"),
        (ends_by(lambda p, n: [end * (1 + 1.96**2 / n) for end in wilson(p, n)]), "divided by 1 + z²/n"),
        (ends_by(lambda p, n: [100 * end for end in wilson(p, n)]), "The ends are shares"),
        (ends_by(lambda p, n: [p + sign * (wilson(p, n)[1] - wilson(p, n)[0]) / 2 for sign in (-1, 1)]), "not p but"),
        (ends_by(lambda p, n: wilson(p, 24)), "case 4 of 7"),
        (ends_by(lambda p, n: (0.0, 1.0)), "the interval"),
    ],
)
def test_wrong_grades_are_named(wrong, said):
    result = check_grade(wrong)
    assert result.status == "NOT YET" and said in result.message


def test_grades_not_begun_are_todo():
    assert check_grade(lambda answers, wanted: TODO).status == "TODO"
    assert check_grade(lambda answers, wanted: (0.5, TODO, TODO)).status == "TODO"
