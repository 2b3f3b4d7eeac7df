"""Intruders read the losses of the shrunk weights, and draw them."""

import re

from lora_teach.bases import evaluate, load_language_adapter, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure import intruder_dimensions, shrink_intruders
from lora_teach.measure.learned import matrices
from lora_teach.measure.random_update import with_random_updates
from lora_teach.measure.results import load_result
from lora_teach.measure.truncate_update import block_matrices
from lora_teach.pictures.intruders import Intruders
from lora_teach.pictures.intruders.view import FACTORS, LETTERS_KNOWN, METERS, draw_contenders

import numpy as np
import pytest
import torch


@pytest.fixture(scope="module")
def view():
    return Intruders(guess=3.2)


def numbers(text):
    return [float(number) for number in re.findall(r"\d+\.\d\d", text)]


def points(line):
    return [tuple(map(float, point)) for point in zip(*line.get_data(), strict=True)]


@pytest.mark.parametrize(("factor", "epsilon"), [(0.0, 0.5), (0.75, 0.7)])
def test_the_losses_are_those_of_the_shrunk_weights(view, factor, epsilon):
    said = view.move(factor=factor, epsilon=epsilon)
    base, model = load_name_gpt(), load_name_gpt()
    before, after = matrices(base), matrices(load_language_adapter(load_name_gpt(), "Zulu"))
    with torch.no_grad():
        for name, weight in block_matrices(model).items():
            name = name.removesuffix(".weight")
            weight.copy_(shrink_intruders(before[name], after[name], factor, epsilon, 10))
    lists = names.load("Zulu").test, names.load("English").test[:LETTERS_KNOWN]
    new, old = (evaluate(model, some) for some in lists)
    count = sum(len(intruder_dimensions(before[name], W1, epsilon, 10)) for name, W1 in after.items())
    assert f"{count} intruders among the 180" in said
    assert numbers(said.partition("the loss is")[2])[:2] == pytest.approx([new, old], abs=0.006)
    assert ("Your guess for English: 3.20." in said) == (factor == 0.75)
    meters = [evaluate(base, lists[0]) - new, old - evaluate(base, lists[1])]
    assert [view.bars[meter].get_width() for meter in METERS] == pytest.approx(meters, abs=1e-4)


def test_at_one_and_at_the_ends_of_the_dial_are_the_trained_model_and_the_base(view):
    model = load_language_adapter(load_name_gpt(), "Zulu")
    trained = [evaluate(model, some) for some in view.lists]
    assert view.losses(1.0, 0.5) == pytest.approx(trained, abs=1e-4)
    assert view.dial[-1] == pytest.approx(trained, abs=1e-4)
    assert view.dial[0] == pytest.approx(view.base, abs=1e-6)


def test_the_random_update_is_as_large_learns_nothing_and_moves_the_same_artists(view):
    drawn = with_random_updates(load_name_gpt(), load_language_adapter(load_name_gpt(), "Zulu"))
    losses = [evaluate(drawn, some) for some in view.lists]
    assert view.losses(1.0, 0.5, "random") == pytest.approx(losses, abs=1e-4)
    assert view.dials["random"][-1] == pytest.approx(losses, abs=1e-4)
    said = view.move(factor=0.75, epsilon=0.5, update="random")
    before, after = matrices(load_name_gpt()), matrices(drawn)
    count = sum(len(intruder_dimensions(before[name], W1, 0.5, 10)) for name, W1 in after.items())
    assert said.startswith("A random update of the same size and rank. ") and f": {count} intruders among" in said
    assert "Your guess" not in said and points(view.line) == view.path(0.5, "random")
    assert points(view.dial_line) == [pytest.approx(pair) for pair in view.dials["random"]]
    view.move(factor=0.75, epsilon=0.5)
    assert points(view.dial_line) == [pytest.approx(pair) for pair in view.dials["learned"]]


def test_the_meters_the_path_and_the_dots_follow(view):
    view.move(factor=0.5, epsilon=0.5)
    losses = view.losses(0.5, 0.5)
    meters = {"learned": view.base[0] - losses[0], "forgotten": losses[1] - view.base[1]}
    assert {name: bar.get_width() for name, bar in view.bars.items()} == meters
    assert {name: text.get_text() for name, text in view.numbers.items()} == {n: f"{m:.2f}" for n, m in meters.items()}
    assert points(view.line) == view.path(0.5)
    assert points(view.dots["intruders"]) == [losses]
    assert points(view.dots["update"]) == [pytest.approx(view.dial[FACTORS.index(0.5)])]
    (mark,) = [line for axes in view.picture.figure.axes for line in axes.lines if line.get_marker() == "D"]
    assert points(mark) == [(pytest.approx(view.dial[-1][0] + 0.03), 3.2)]


def test_the_still_says_what_a_quarter_off_does_to_each_contender(view):
    said = view.static_figure().sentence
    for name, entry in load_result("learned")["results"]["Zulu"]["contenders"].items():
        paths = np.array([run["intruders shrunk"] for run in entry["runs"]])  # (seeds, factors, 2)
        new, old = (paths[:, FACTORS.index(0.75)] - paths[:, -1]).mean(0)
        came = re.search(rf"{name} ([+-]\d\.\d\d) and ([+-]\d\.\d\d)", said)
        assert [float(came[1]), float(came[2])] == pytest.approx([new, old], abs=0.006)
    assert load_result("learned")["settings"]["factors"] == list(FACTORS)


def test_the_still_has_a_panel_for_each_contender_with_every_seed():
    path = np.array([[[3.3, 2.1], [2.0, 3.8]], [[3.3, 2.1], [1.8, 3.6]]])  # (seeds, factors, 2)
    both = {"intruders": path + 0.1, "update": path, "random": path + 0.3}
    counts = {"LoRA r=1": (17, 18), "full": (9.3, 1)}
    figure = draw_contenders({"LoRA r=1": both, "full": both}, counts, (3.3, 2.1), "Zulu")
    titles = ["LoRA r=1: 17 intruders\n(at random 18)", "full: 9 intruders\n(at random 1)"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == titles
    for axes in figure.axes:
        lines = [points(line) for line in axes.lines]
        for way, shift in (("intruders", 0.1), ("update", 0.0), ("random", 0.3)):
            for seed in path + shift:
                assert [tuple(point) for point in seed] in lines, way
            assert [tuple(point) for point in (path + shift).mean(0)] in lines


@pytest.mark.parametrize(("guess", "error"), [("3", TypeError), (-1, ValueError)])
def test_a_guess_that_is_no_loss_is_refused(guess, error):
    with pytest.raises(error, match="a loss in nats from 0 to 10"):
        Intruders(guess)
