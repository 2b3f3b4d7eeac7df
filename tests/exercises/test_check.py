import copy
import inspect
import pickle
from pathlib import Path

import lora_teach.exercises as exercises
from lora_teach.exercises.check import Result, attempt, cases, check, compare, expect
from lora_teach.exercises.compare import describe
from lora_teach.exercises.todo import TODO

import numpy as np
import pytest
import torch


@check
def check_double(double):
    for x in cases([3, torch.ones(2, 3)]):
        compare(attempt(double, x=x), 2 * x, [(9, "That is the square."), (5, "That adds two.")])
    return "doubled"


def test_right_answer_passes(capsys):
    result = check_double(lambda x: 2 * x)
    assert (result.status, result.message, result.passed) == ("PASS", "doubled", True)
    assert capsys.readouterr().out == "PASS: doubled\n"


@pytest.mark.parametrize("stub", [TODO, ..., (1, TODO), {"a": [TODO]}], ids=str)
def test_stub_is_todo(stub, capsys):
    def double(x):
        return stub

    assert check_double(double).status == "TODO"
    assert capsys.readouterr().out == "TODO: write double, then run this cell again.\n"


@pytest.mark.parametrize(
    "unfinished",
    [
        lambda x: x + TODO,
        lambda x: TODO * x,
        lambda x: torch.ones(3, 3) @ TODO,
        lambda x: TODO @ torch.ones(3, 3),
        lambda x: torch.relu(TODO),
        lambda x: TODO[0],
        lambda x: TODO(x),
        lambda x: TODO.shape,
        lambda x: 1 if TODO else 2,
        lambda x: sum(TODO),
        lambda x: float(TODO),
    ],
)
def test_computing_with_todo_is_todo(unfinished):
    assert check_double(unfinished).status == "TODO"


def test_todo_given_in_place_of_a_function_is_todo():
    assert check_double(TODO).status == check_double(...).status == "TODO"


def test_todo_is_one_object():
    assert copy.deepcopy(TODO) is TODO and pickle.loads(pickle.dumps(TODO)) is TODO and repr(TODO) == "TODO"


def test_known_mistake_is_named(capsys):
    assert check_double(lambda x: x * x).status == "NOT YET"
    assert capsys.readouterr().out == (
        "NOT YET: case 1 of 2: double(x=3)\n  came:     9\n  expected: 6\n  That is the square.\n"
        "  again:    double(*check_double.last_input)\n"
    )


def test_missing_return_is_named():
    message = check_double(lambda x: None).message
    assert "came:     None (is a return missing?)" in message and "of type NoneType; expected was int" in message


def test_learners_exception_is_named_with_its_line():
    def double(x):
        y = x * 2
        return y / 0

    result = check_double(double)
    assert result.status == "NOT YET"
    _, first, second, _ = result.message.splitlines()
    assert first == "  the code raised ZeroDivisionError: division by zero"
    assert second.startswith("  in line ") and second.endswith("in double: return y / 0")
    assert "/" not in second.replace("y / 0", "")  # no path


def test_line_named_is_the_learners_not_torchs():
    def double(x):
        return torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 5))

    message = check_double(double).message
    assert "RuntimeError" in message and "in double: return torch.nn.functional.linear" in message


@pytest.mark.parametrize("error", [Exception, AssertionError, RecursionError, StopIteration, AttributeError, Warning])
def test_check_never_raises(error):
    def double(x):
        raise error("so")

    assert check_double(double).status == "NOT YET"


@pytest.mark.parametrize("thing", [None, 3, "text", torch.nn.Linear(2, 2), object()])
def test_check_never_raises_whatever_it_is_given(thing):
    assert check_double(thing).status == "NOT YET"


def test_ctrl_c_still_works():
    def double(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_double(double)


def said(got, expected, **options):
    """What a check says that compares these two; "" if it passes."""
    result = check(lambda: compare(got, expected, what="the input", **options))()
    return "" if result.passed else result.message


SQUARE = torch.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (6, 6.0),
        (torch.tensor(6), 6),
        (torch.tensor([[6.0]]), 6),
        (np.float32(6), 6),
        (SQUARE.numpy(), SQUARE),
        (SQUARE.double(), SQUARE),
        (SQUARE.clone().requires_grad_(), SQUARE),
        (SQUARE + 1e-7, SQUARE),
        ("abc", "abc"),
        ([1, 2.0000001], (1.0, 2.0)),
        ({"a": 1}, {"a": 1}),
        (None, None),
    ],
    ids=str,
)
def test_same_in_what_counts_is_the_same(got, expected):
    assert said(got, expected) == ""


@pytest.mark.parametrize(
    ("got", "expected", "words"),
    [
        (6.1, 6, "came:     6.1\n  expected: 6"),
        (float("nan"), 6.0, "not finite"),
        ("6", 6, "of type str; expected was int"),
        ([1, 2], [1, 3], "came:     [1, 2]"),
        ([1, 2], [1, 2, 3], "expected: [1, 2, 3]"),
        (SQUARE.T, SQUARE, "The numbers are right, but it is transposed."),
        (torch.zeros(3, 2), SQUARE, "The shape is (3, 2); expected was (2, 3)."),
        (torch.tensor(1.0), SQUARE, "The shape is (); expected was (2, 3)."),
        (2 * SQUARE, SQUARE, "Everything is 2 times what it should be"),
        (SQUARE + torch.tensor([[0, 0, 0.5], [0, 0, 0]]), SQUARE, "differ most at [0, 2]: came 2.5, expected 2."),
        (torch.zeros(2, 3), SQUARE, "differ most at [1, 2]: came 0, expected 5."),
        (torch.full((2, 3), float("inf")), SQUARE, "not finite"),
    ],
    ids=str,
)
def test_difference_is_named(got, expected, words):
    message = said(got, expected)
    assert message.startswith("the input\n  came: ") and words in message


def test_mistake_in_a_tensor_is_named():
    assert said(SQUARE + 1, SQUARE, mistakes=[(SQUARE + 2, "two"), (SQUARE + 1, "one")]).endswith("\n  one")


def test_tolerance_is_the_callers():
    assert said(1.01, 1.0, rtol=0.05) == "" and said(1.01, 1.0) != "" and said(0.01, 0.0, atol=0.05) == ""


def test_expect_gives_its_message():
    result = check(lambda: expect(False, "the weight moved"))()
    assert str(result) == "NOT YET: the weight moved"
    assert check(lambda: expect(True, "the weight moved"))().passed


def test_long_values_are_cut():
    assert len(describe("x" * 1000)) == 100
    assert describe(torch.arange(1000)) == "tensor of shape (1000,): 0, 1, 2, 3, 4, 5, 6, 7, …"


def test_result_is_not_shown_twice_in_a_notebook(capsys):
    Result("PASS", "so")._ipython_display_()
    assert capsys.readouterr().out == ""


def test_every_check_can_be_imported_from_the_package():
    assert exercises.TODO is TODO
    for name in dir(exercises):
        assert callable(getattr(exercises, name)) or name == "TODO" or name.startswith("_")
    with pytest.raises(AttributeError, match="has no 'check_nothing'"):
        exercises.check_nothing  # noqa: B018


FILES = sorted(Path(exercises.__file__).parent.glob("*.py"))
CHECKS = [name for name in dir(exercises) if name.startswith("check_")]


@pytest.mark.parametrize("stub", [TODO, ...], ids=str)
@pytest.mark.parametrize("name", CHECKS)
def test_an_exercise_that_is_not_begun_is_todo(name, stub):
    function = getattr(exercises, name)
    learners = [lambda *args, **kwargs: stub for _ in inspect.signature(function).parameters]
    assert function(*learners).status == "TODO"


def test_every_check_of_every_file_is_among_those():
    defined = {
        line[4:].split("(")[0]
        for file in FILES
        for line in file.read_text("utf-8").splitlines()
        if line[:10] == "def check_"
    }
    assert defined == set(CHECKS)
