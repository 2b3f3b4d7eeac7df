"""Spectra say and draw what the file holds, counted another way."""

from lora_teach.measure.results import load_result
from lora_teach.pictures.learned_spectra import Spectra
from lora_teach.pictures.learned_spectra import view as module
from lora_teach.plots.style import MARKERS

import pytest
from matplotlib.figure import Figure

KINDS, SHARE = module.KINDS, module.SHARE


@pytest.fixture(scope="module")
def zulu():
    return load_result("learned")["results"]["Zulu"]


def points(line):
    return [tuple(map(float, point)) for point in zip(*line.get_data(), strict=True)]


def diamonds(figure):
    return [points(line) for axes in figure.axes for line in axes.lines if line.get_marker() == "D"]


@pytest.mark.parametrize("kind", ["all layers", "v", "MLP down"])
def test_the_share_that_the_leading_directions_hold_is_said(kind, zulu):
    said = Spectra(guess=30).move(directions=5, layers=kind)
    for name, entry in zulu["contenders"].items():
        shares = []
        for layer, sigma in entry["spectra"].items():
            if layer.endswith(KINDS[kind]):
                squares = [value**2 for value in sigma]
                shares.append(sum(squares[:5]) / sum(squares))
        assert f"{name} {sum(shares) / len(shares):.0%}" in said
    assert said.endswith("Your guess: 30.")


def test_the_directions_that_hold_90_percent_are_counted():
    view = Spectra()
    needs = view.count("q")["full"]
    held = view.held("q")["full"]
    assert held[needs - 2] < 0.9 <= held[needs - 1]
    assert f"90 % of full fine-tuning's takes {needs}, of a random" in view.move(directions=1, layers="q")
    counts = [view.count(kind)["full"] for kind in list(KINDS)[1:]]
    assert f"takes {min(counts)} to {max(counts)} of 96 directions" in view.static_figure().sentence


def test_both_curves_are_drawn_and_the_dots_stand_where_the_slider_does():
    view = Spectra()
    view.move(directions=3, layers="v")
    values, held = view.values("v"), view.held("v")
    for name in values:
        sigma, share = (points(line) for line in view.lines[name])
        assert sigma == list(enumerate(values[name], 1))
        assert share == list(enumerate(held[name], 1))
        there = [[(3.0, of[2])] if len(of) >= 3 else [] for of in (values[name], held[name])]
        assert [points(dot) for dot in view.dots[name]] == there  # a spectrum that has ended has no dot
    assert [list(line.get_xdata()) for line in view.here] == [[3, 3]] * 2
    assert diamonds(view.picture.figure) == []
    assert diamonds(Spectra(guess=30).picture.figure) == [[(30.0, SHARE)]]


def test_the_still_marks_where_90_percent_are_reached(monkeypatch):
    shown = []
    monkeypatch.setattr(module, "show", lambda figure, sentence: shown.append(figure))
    view = Spectra()
    view.static_figure()
    (figure,) = shown
    assert isinstance(figure, Figure)
    for axes, kind in zip(figure.axes, list(KINDS)[1:], strict=True):
        counts, held = view.count(kind), view.held(kind)["LoRA r=8"]
        assert axes.get_title(loc="left") == f"{kind}: full needs {counts['full']}"
        (mark,) = [points(line) for line in axes.lines if line.get_marker() == MARKERS["lora"]]
        assert mark == [(counts["LoRA r=8"], pytest.approx(held[counts["LoRA r=8"] - 1]))]


@pytest.mark.parametrize(("guess", "error"), [("8", TypeError), (0, ValueError), (float("nan"), ValueError)])
def test_a_guess_outside_the_picture_is_refused(guess, error):
    with pytest.raises(error, match="a number of directions from 1 to 96"):
        Spectra(guess)


def test_random_updates_of_the_same_rank_stand_beside_the_learned_ones():
    view, drawn = Spectra(), load_result("control")["results"]["Zulu"]
    said = view.move(directions=8, layers="q")
    for name, curve in view.random.items():
        of_q = [spectrum for layer, spectrum in drawn[name]["spectra"].items() if layer.endswith("q_proj")]
        shares = [sum(value**2 for value in sigma[:2]) / sum(value**2 for value in sigma) for sigma in of_q]
        assert points(curve)[1] == (2.0, pytest.approx(sum(shares) / len(shares), abs=1e-6))
    needs = view.count("q", random=True)
    assert f"of a random update of its size {needs['full']}." in said and needs["full"] > 3 * view.count("q")["full"]
    assert f"a random one {view.count('all layers', random=True)['LoRA r=8']}." in view.static_figure().sentence
