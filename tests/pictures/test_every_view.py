"""Every view of the course is swept, and every ``explore(…)`` that a reader meets shows a view that is.

Every guess that can't be drawn is refused with a sentence, by whatever takes one.
"""

import ast
import functools
import importlib
import inspect
import pkgutil
import sys
from fractions import Fraction
from pathlib import Path

import lora_teach.pictures
from lora_teach.live import View, explore
from lora_teach.utils.validation import WrongGuess
from tests.live.sweep import sweep

import nbformat
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OPTIONS = {"static_figure"}  # of explore itself; every other keyword is a slider

for module in pkgutil.walk_packages(lora_teach.pictures.__path__, "lora_teach.pictures."):
    importlib.import_module(module.name)


def kinds(parent=View):
    """All views of the library, by name."""
    for kind in parent.__subclasses__():
        if kind.__module__.startswith("lora_teach."):
            yield kind.__name__, kind
        yield from kinds(kind)


VIEWS = dict(kinds())


def explored(source, views):
    """For each ``explore(…)`` in this code the name of its view, or None, and the sliders that it is given."""
    made = {}  # names of views, as they are at this point of the code
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Assign, ast.Call))]
    for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(node, ast.Assign):
            value = called(node.value) if isinstance(node.value, ast.Call) else None
            made |= {target.id: value for target in node.targets if isinstance(target, ast.Name)}
        elif called(node) == "explore":
            view = node.args[0] if node.args else None
            name = called(view) if isinstance(view, ast.Call) else made.get(getattr(view, "id", None))
            yield (
                name if name in views else None,
                sorted(word.arg for word in node.keywords if word.arg not in OPTIONS),
            )


def called(call):
    """``explore`` in both ``explore(…)`` and ``live.explore(…)``."""
    return getattr(call.func, "id", getattr(call.func, "attr", None))


@functools.cache
def example(name):
    """A view's explorer; made once, since some views train."""
    return explore(VIEWS[name]())


@pytest.mark.parametrize("name", VIEWS)
def test_view_at_minimum_start_and_maximum_of_every_slider(name):
    sentences = [sentence for _, sentence in sweep(example(name))]
    assert len(set(sentences)) > 1, f"{name} says the same wherever its sliders stand: {sentences[0]!r}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_explore_in_a_notebook_shows_a_swept_view_with_its_own_sliders(path):
    cells = nbformat.read(path, as_version=4).cells
    source = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    for name, sliders in explored(source, VIEWS):
        assert name, f"{path.name}: explore() takes a view derived from View, made in this notebook"
        assert not sliders, f"{path.name}: {name} declares its sliders itself; explore() gives it {sliders}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "lora_teach" / "pictures").rglob("*.py")), ids=lambda path: path.parent.name + path.stem
)
def test_every_explore_in_the_library_shows_a_view_that_the_sweep_finds(path):
    for name, _ in explored(path.read_text(encoding="utf-8"), VIEWS):
        assert name, f"{path.name}: explore() takes a view derived from View"


def test_an_unswept_view_is_noticed():
    views = {"Toy"}
    assert [name for name, _ in explored("explore(Other(), x=(1, 2, 1))", views)] == [None]
    assert [name for name, _ in explored("view = Toy(3)\nlive.explore(view, x=(1, 2, 1))", views)] == ["Toy"]
    twice = "view = Toy()\nexplore(view, x=True)\nview = Other()\nshown = explore(view, x=True)"
    assert [name for name, _ in explored(twice, views)] == ["Toy", None]


def guessing():
    """All classes and functions of the pictures that take a guess, by name."""
    for name, module in sorted(sys.modules.items()):
        if name.startswith("lora_teach.pictures."):
            for kind, made in vars(module).items():
                own = callable(made) and not kind.startswith("_") and getattr(made, "__module__", "") == name
                if own and "guess" in inspect.signature(made).parameters:
                    yield f"{name.split('.')[2]}.{kind}", made


GUESSING = dict(guessing())
NO_NUMBERS = ["14", "", "?", b"1", True, 1j, ..., object(), print, torch.tensor(0.5), np.ones(1), "9" * 9999]
OUTSIDE = [float("nan"), float("inf"), -float("inf"), -1, -0.001, 1e300, 10**400, 10**5000, Fraction(-1, 2)]
NO_LISTS = [[], (), [2], ["2"], [None], {}, {"a": 1}, {1: "a"}, {-1: 2}, {1: float("nan")}, {2}, [[2, 2]], [1] * 100]
NO_LISTS += [[float("nan")] * count for count in (2, 7, 8)] + [[2, "2"], [True] * 8, [2] * 7 + [99], [2, None]]


def give(name, guess):
    """Call it with this guess; what else it needs is None, which it must not have looked at before."""
    made = GUESSING[name]
    needed = [one for one in inspect.signature(made).parameters.values() if one.default is one.empty]
    given = {one.name: None for one in needed if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)}
    if name == "cut_or_train.guesses":
        given["ranks"] = [1, 2, 4, 8, 16, 32, 64]
    result = made(**given | {"guess": guess})
    if inspect.iscoroutine(result):
        result.send(None)


def refused(name, guess):
    """The sentence with which it refuses a guess."""
    with pytest.raises(WrongGuess) as caught:
        give(name, guess)
    return str(caught.value)


@pytest.mark.parametrize("name", GUESSING)
def test_a_guess_that_cannot_be_drawn_is_refused_with_a_sentence(name):
    for guess in NO_NUMBERS + OUTSIDE + NO_LISTS:
        if isinstance(guess, dict) and not guess and "cut_or_train" in name:
            continue  # a guess about no rank is none
        sentence = refused(name, guess)
        assert sentence.startswith("guess=") and " or None." in sentence and len(sentence) < 300, sentence


def test_enough_is_swept():
    assert len(GUESSING) >= 25 and {name.split(".")[1] for name in GUESSING} >= {"Icons", "Mix", "CutOrTrain", "Angle"}


def test_a_notebook_shows_the_sentence_without_a_traceback(capsys):
    shell = InteractiveShell.instance()
    shell.run_cell("from lora_teach.pictures.keyhole.view import Keyhole\nKeyhole(guess='14')")
    shown = capsys.readouterr()
    assert "guess='14' is not a number. Give a number of % from 0 to 100, or None." in shown.out + shown.err
    assert "Traceback" not in shown.out + shown.err and "Keyhole(" not in shown.out + shown.err


@pytest.mark.parametrize("wrong", ["no such place", None, float("nan"), -(10**9), 10**9, [], object()], ids=repr)
@pytest.mark.parametrize("name", VIEWS)
def test_a_bad_value_moves_no_slider(name, wrong):
    explorer = example(name)
    before, sentence = explorer.values, explorer.sentence
    first, *_, last = [*before] * 2
    other = next((place for place in explorer.limits()[first] if place != before[first]), before[first])
    with pytest.raises(Exception, match=r"."):
        explorer.move(**({first: other} if first != last else {}) | {last: wrong})
    assert explorer.values == before and explorer.sentence == sentence
