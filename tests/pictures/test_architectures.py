"""Counts in full: the sentence's numbers are those of adapters counted another way, and are drawn where they belong."""

import re

from lora_teach import LoRAModel
from lora_teach.bases import NameGPT
from lora_teach.live import explore
from lora_teach.pictures.architectures import CountsInFull
from lora_teach.pictures.architectures.view import CHOICES, SHARES, SHOWN, XLIM
from lora_teach.plots.style import MARKERS
from tests.live.sweep import sweep

import numpy as np
import pytest

NAME_GPT = {"q v": ["q_proj", "v_proj"], "attention": ["q_proj", "k_proj", "v_proj", "o_proj"], "all linear": None}
GPT_3 = {"q v": 2 * 2 * 12_288, "attention": 4 * 2 * 12_288, "all linear": 4 * 2 * 12_288 + 2 * 5 * 12_288}


@pytest.fixture(scope="module")
def view():
    return CountsInFull(guess=5e8)


@pytest.fixture
def axes(view):
    return view.dots.axes


def percent(share):
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def drawn(axes, marker):
    """The points drawn with this marker."""
    lines = [line for line in axes.lines if line.get_marker() == marker]
    return [tuple(map(float, point)) for line in lines for point in zip(*line.get_data(), strict=True)]


def test_the_sentence_says_what_real_adapters_train():
    explorer = explore(CountsInFull())
    assert list(explorer.limits()["layers"]) == CHOICES == list(NAME_GPT)
    for values, sentence in sweep(explorer):
        rank, which = values["rank"], values["layers"]
        small = LoRAModel(NameGPT(), rank=rank, target_modules=NAME_GPT[which]).count()[0]
        large = 96 * rank * GPT_3[which]
        assert f": {percent(small / 342_720)} of NameGPT's" in sentence
        assert f"and {percent(large / 174_604_283_904)} of GPT-3 175B's" in sentence
        assert f"the adapter {large / small:,.0f} times" in sentence
        assert "The model is 509,466 times as large" in sentence
        told, unit = re.search(r"([\d.]+) (MB|GB) on disk", sentence).groups()
        assert abs(float(told) * {"MB": 1e6, "GB": 1e9}[unit] / (4 * large) - 1) < 0.01
        assert [explorer.view.dots.get_ydata()[at] for at in (0, -1)] == [small, large]


def test_the_static_figure_says_the_shares_at_rank_8(view):
    said = view.static_figure().sentence
    assert said.startswith("14 models, NameGPT at the left") and "2.7 % of the smallest and 0.022 % of" in said
    assert "Rank 8, q v: 2.7 % of NameGPT's numbers train, and 0.022 %" in view.move(8, "q v")


def test_a_move_puts_the_dots_in_place_and_writes_the_ends(view, axes):
    view.move(4, "q v")
    counts = view.counts(4, "q v")
    assert drawn(axes, MARKERS["lora"]) == list(zip(view.totals, counts, strict=True))
    assert drawn(axes, MARKERS["full"]) == [(total, total) for total in view.totals]
    assert [word.get_text().strip() for word in view.words] == [f"{counts[at]:,}" for at in (0, -1)]
    assert view.title.get_text() == "r = 4 on q v"


def test_the_lines_of_shares_are_shares(axes):
    ends = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_xdata()[0] == XLIM[0]]
    shares = [float((line.get_ydata() / line.get_xdata())[1]) for line in ends]
    assert shares == pytest.approx(list(SHARES))


def test_the_right_axis_is_the_file_of_four_bytes_a_number(axes):
    (right,) = axes.child_axes
    assert np.allclose(right.get_ylim(), np.array(axes.get_ylim()) * 4)
    assert [label.get_text() for label in right.get_yticklabels()] == ["1 kB", "1 MB", "1 GB", "1 TB"]


def test_the_guess_stands_at_the_last_model(view, axes):
    assert drawn(axes, "D") == [(view.totals[-1], 5e8)]
    assert not drawn(CountsInFull().dots.axes, "D")


@pytest.mark.parametrize(("guess", "error"), [("5e8", TypeError), (float("nan"), ValueError), (0, ValueError)])
def test_another_guess_is_refused_with_a_cure(guess, error):
    with pytest.raises(error, match="Give a count from 600 to 6e.11, or None"):
        CountsInFull(guess)


@pytest.mark.parametrize("totals", [None, {"small": 1e6, "other": 1.05e6, "large": 1e11}])
def test_no_two_names_stand_closer_than_a_line_of_text(totals):
    view = CountsInFull(totals=totals)
    places = [text.get_position()[0] for text in view.dots.axes.texts if text.get_text() in view.names]
    low, high = np.log10(XLIM)
    apart = np.diff((np.log10(places) - low) / (high - low))
    assert len(places) == len(view.totals) and apart.min() > 0.025


def test_small_multiples_have_a_panel_for_each_choice_and_a_series_for_each_rank(view):
    for panel, which in zip(view._draw_choices().axes, CHOICES, strict=True):
        assert panel.get_title(loc="left") == which
        for rank, role in SHOWN.items():
            assert [y for _, y in drawn(panel, MARKERS[role])] == view.counts(rank, which)
