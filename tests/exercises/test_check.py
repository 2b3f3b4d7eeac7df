import copy
import inspect
import math
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import lora_teach.exercises as exercises
import lora_teach.exercises.check as framework
from lora_teach.exercises.check import Draw, Result, attempt, cases, check, compare, expect, run
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


ARRAY = np.ones((3, 3))
UNFINISHED = """
x + TODO; x - TODO; TODO * x; TODO / x; TODO // x; TODO % x; x ** TODO; divmod(x, TODO); TODO @ x; x << TODO; TODO >> x
TODO & x; x | TODO; TODO ^ x; -TODO; +TODO; ~TODO; abs(TODO); round(TODO); math.floor(TODO); math.ceil(TODO)
TODO < x; TODO == x; x != TODO; TODO >= x; not TODO; 1 if TODO else 2; x in TODO; TODO[0]; TODO(x); TODO.shape
[*TODO]; sum(TODO); len(TODO); float(TODO); int(TODO); complex(TODO); range(TODO); [1][TODO]; next(TODO); f"{TODO:.2f}"
reversed(TODO); math.sqrt(TODO); max(TODO, 1); sorted([TODO, 1]); dict(TODO);
torch.ones(3, 3) @ TODO; TODO @ torch.ones(3, 3); torch.relu(TODO); torch.tensor(TODO); torch.zeros(TODO); x * [TODO][0]
torch.stack([torch.ones(2), TODO]); torch.full((2,), TODO); torch.cat([TODO]); nn.Linear(TODO, 3); nn.Parameter(TODO)
ARRAY @ TODO; ARRAY + TODO; np.exp(TODO); np.asarray(TODO); np.stack([TODO]); ARRAY[TODO]; torch.tensor([1.0, TODO])
"""


@pytest.mark.parametrize("code", [part.strip() for part in UNFINISHED.replace("\n", ";").split(";") if part.strip()])
def test_computing_with_todo_is_todo(code):
    space = {"TODO": TODO, "ARRAY": ARRAY, "torch": torch, "nn": torch.nn, "np": np, "math": math}
    assert check_double(lambda x: eval(code, space | {"x": x})).status == "TODO"


def changing_it(x):
    TODO.attribute = x


def in_place(x):
    x += TODO


def as_a_context(x):
    with TODO:
        return x


def in_a_loop(x):
    for part in TODO:
        return part


def as_an_item(x):
    TODO[0] = x


def unpacked(x):
    one, two = TODO
    return one


@pytest.mark.parametrize("stub", [changing_it, in_place, as_a_context, in_a_loop, as_an_item, unpacked])
def test_a_statement_with_todo_is_todo(stub):
    assert check_double(stub).status == "TODO"


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
    values = {"number": 4, "answers": stub}  # all other arguments are functions of the learner's
    learners = [values.get(one, lambda *args, **kwargs: stub) for one in inspect.signature(function).parameters]
    assert function(*learners).status == "TODO"


def test_every_check_of_every_file_is_among_those():
    defined = {
        line[4:].split("(")[0]
        for file in FILES
        for line in file.read_text("utf-8").splitlines()
        if line[:10] == "def check_"
    }
    assert defined == set(CHECKS)


# --- what the learner's code may do to the kernel ---------------------------------------------------------------


def endless(x):
    while True:
        pass


def sleeping(x):
    time.sleep(60)


def computing(x):
    while True:
        torch.ones(50, 50) @ torch.ones(50, 50)


def catching(x):
    while True:
        try:
            time.sleep(60)
        except:  # noqa: E722 — the worst case
            pass


@check
def check_calls(double):
    return str(attempt(double, x=3))


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(framework, "LIMIT", 0.3)


@pytest.mark.parametrize("hanging", [endless, sleeping, computing, catching])
def test_what_never_ends_is_stopped_and_its_line_named(hanging, short):
    tracer, handler = sys.gettrace(), signal.getsignal(signal.SIGALRM)
    message = check_calls(hanging).message
    assert "ran for more than 0.3 seconds" in message and f"in {hanging.__name__}:" in message
    assert sys.gettrace() is tracer and signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize("hanging", [endless, computing])
def test_it_is_stopped_in_another_thread_too(hanging, short):
    results = []
    thread = threading.Thread(target=lambda: results.append(check_calls(hanging)))
    thread.start()
    thread.join(20)
    assert not thread.is_alive() and "ran for more than" in results[0].message


def test_the_limit_is_for_all_calls_of_a_check_together(short):
    calls = []

    @check
    def check_slow(slow):
        for number in cases(list(range(100))):
            attempt(slow, x=number)

    assert "ran for more than" in check_slow(lambda x: calls.append(x) or time.sleep(0.1)).message
    assert 1 < len(calls) < 10


def test_the_checks_own_time_does_not_count(short):
    @check
    def check_waits(double):
        time.sleep(0.5)
        return str(attempt(double, x=3))

    assert check_waits(lambda x: x).passed


def test_a_timer_that_ran_before_goes_on():
    signal.setitimer(signal.ITIMER_REAL, 500)
    try:
        assert check_calls(lambda x: x).passed and 400 < signal.getitimer(signal.ITIMER_REAL)[0] <= 500
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def state():
    hooks = [len(value) for name, value in sorted(vars(torch.nn.modules.module).items()) if "hooks" in name]
    generators = torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()
    settings = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads(), torch.empty(0).device
    modes = torch._C._len_torch_function_stack()  # a device that is set stands there, and torch.compile trips over it
    return hooks, generators, settings, list(warnings.filters), modes


def disturbing(x):
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    torch.nn.modules.module.register_module_forward_hook(lambda *given: None)
    warnings.simplefilter("ignore")
    return x


@pytest.mark.parametrize("ending", [lambda x: x, lambda x: 1 / 0, endless], ids=["ends", "raises", "hangs"])
def test_everything_is_put_back(ending, short):
    before = state()
    check_calls(lambda x: ending(disturbing(x)))
    assert state() == before


def test_a_ctrl_c_puts_everything_back_too():
    before = state()
    with pytest.raises(KeyboardInterrupt):
        check_calls(lambda x: signal.raise_signal(signal.SIGINT) if disturbing(x) else None)
    assert state() == before


def test_a_check_begins_with_gradients_and_float32_whatever_the_notebook_did():
    @check
    def check_start(start):
        return attempt(start)

    with torch.no_grad():
        assert check_start(lambda: f"{torch.is_grad_enabled()} {torch.ones(1).dtype}").message == "True torch.float32"


class Escape(BaseException):
    pass


@pytest.mark.parametrize("escape", [SystemExit, GeneratorExit, Escape, sys.exit])
def test_nothing_but_ctrl_c_escapes(escape):
    def leaves(x):
        if escape is sys.exit:
            sys.exit("bye")
        raise escape("bye")

    result = check_calls(leaves)
    assert result.status == "NOT YET" and "bye" in result.message


def test_long_exception_texts_are_cut():
    def raises(x):
        raise ValueError("much\n" * 10_000)

    assert len(check_calls(raises).message) < 600


# --- inputs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "change"),
    [
        (torch.ones(3), lambda x: x.mul_(2)),
        ([1, 2], lambda x: x.append(3)),
        ({"a": torch.ones(2)}, lambda x: x["a"].zero_()),
        (torch.nn.Linear(2, 2), lambda x: torch.nn.init.zeros_(x.bias)),
        ([torch.nn.Linear(2, 2)], lambda x: torch.nn.init.zeros_(x[0].bias)),
    ],
    ids=["tensor", "list", "dict", "module", "modules"],
)
def test_an_input_that_is_changed_in_place_is_named_and_stays(given, change):
    kept = copy.deepcopy(given)

    @check
    def check_inputs(function):
        attempt(function, x=given)

    assert check_inputs(lambda x: None).passed
    assert "changed its input x in place" in check_inputs(change).message
    assert str(given) == str(kept) and check_inputs(lambda x: None).passed


def test_the_failing_case_can_be_run_again():
    def wrong(anything):
        return anything + 3  # right for 3 alone

    assert "case 2 of 2" in check_double(wrong).message
    (again,) = check_double.last_input
    assert torch.equal(again, torch.ones(2, 3))
    assert check_double(lambda x: 2 * x).passed and check_double.last_input is None


def test_the_last_input_is_what_it_was_before_the_call_where_it_may_change():
    @check
    def check_changing(change):
        x = torch.ones(2)
        attempt(change, ("x",), x=x)
        compare(x, 3 * torch.ones(2))

    assert not check_changing(lambda x: x.mul_(2)).passed
    assert torch.equal(check_changing.last_input[0], torch.ones(2))


def test_the_learners_own_argument_names_will_do():
    assert check_double(lambda anything_else: anything_else * 2).passed


def test_keyword_only_parameters_get_their_inputs_by_name():
    @check
    def check_difference(difference):
        compare(attempt(difference, a=5, b=3, c=1), 1)

    assert check_difference(lambda a, *, b, c: a - b - c).passed
    assert check_difference(lambda x, *, c, b, **more: x - b - c).passed


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"q": (torch.ones(4, 2), torch.ones(2, 4))}, "{'q': [tensor of shape (4, 2), tensor of shape (2, 4)]}"),
        (torch.tensor([1 / 3, 2.0]), "tensor([0.3333, 2])"),
        ([(3072, 1024)] * 2, "[(3072, 1024), (3072, 1024)]"),
        ([(torch.ones(2, 3), torch.ones(2))] * 5, "5 batches, the first of tensor of shape (2, 3), tensor([1, 1])"),
        (test_right_answer_passes, "x=test_right_answer_passes"),
        (framework.Draw(), "x=Draw)"),
    ],
)
def test_inputs_are_shown_in_a_few_words(given, words, capsys):
    check(lambda look: attempt(look, x=given) or expect(False, "wrong"))(lambda x: 0)
    assert words in capsys.readouterr().out


def test_run_calls_with_keywords():
    assert check(lambda double: str(run(double, x=3)))(lambda x: x).message == "3"


@pytest.mark.parametrize("noise", range(3))
def test_draws_are_the_same_in_every_run(noise):
    torch.manual_seed(noise)
    draw = Draw()
    assert draw.sizes(3, 2, 9) == Draw().sizes(3, 2, 9) and len(set(draw.sizes(5, 1, 5))) == 5
    layer, same = Draw(4).layer(5, 3, 2, 0.5), Draw(4).layer(5, 3, 2, 0.5)
    assert torch.equal(layer.delta_weight(), same.delta_weight()) and layer.scaling == 0.5 and layer.lora_B.any()


@pytest.mark.parametrize(
    ("got", "expected", "words"),
    [
        (9_175_041, 9_175_040, "off by +1"),
        (True, 1, "yes or no"),
        (1 + 2j, 1.0, "complex"),
        ((x for x in [1]), 1, "not been computed yet"),
        (float("nan"), 3, "not finite"),
        (10**400, 1.0, "expected"),
    ],
    ids=["one too many", "yes or no", "complex", "generator", "nan", "too large"],
)
def test_a_number_that_is_another_is_told(got, expected, words):
    assert words in said(got, expected)


TRACED = """
import sys, threading
from lora_teach.exercises.guard import TooLong, time_limit

def work(seconds):  # a loop that stands in the try itself lies in Python 3.13 in part outside of it
    while seconds < 1:
        pass

def run():
    for seconds in (5, 0.05):
        try:
            with time_limit(seconds):
                work(seconds)
        except TooLong:
            print("stopped")

thread = threading.Thread(target=run)
thread.start()
thread.join()
sys.settrace(lambda *event: None)
(lambda: print("goes on"))()
"""


def test_a_limit_in_a_thread_leaves_nothing_on_which_a_traced_function_waits_for_ever():
    done = subprocess.run([sys.executable, "-c", TRACED], capture_output=True, text=True, timeout=60)
    assert done.stdout.split("\n") == ["stopped", "goes on", ""], done.stderr
