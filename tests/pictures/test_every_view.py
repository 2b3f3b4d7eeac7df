"""Every view of the course is swept, and every ``explore(…)`` that a reader meets shows a view that is."""

import ast
import functools
import importlib
import pkgutil
from pathlib import Path

import lora_teach.pictures
from lora_teach.live import View, explore
from tests.live.sweep import sweep

import nbformat
import pytest

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
