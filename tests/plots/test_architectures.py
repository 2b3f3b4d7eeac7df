"""Counts in full: dots, diagonal, shares and the file's axis are where the numbers are."""

from lora_teach.pictures.architectures import drawing as architectures
from lora_teach.plots.style import MARKERS

import numpy as np
import pytest

NAMES, TOTALS = ["small", "other", "large"], [1e6, 1.05e6, 1e11]


def drawn(axes, marker):
    """The points drawn with this marker."""
    (found,) = [line for line in axes.lines if line.get_marker() == marker]
    return [tuple(map(float, point)) for point in zip(*found.get_data(), strict=True)]


def test_update_moves_the_dots_and_writes_the_ends():
    made = architectures.draw(NAMES, TOTALS)
    made.update(TOTALS, [1000, 2000, 3_000_000], "r = 4 on q v")
    axes = made.picture.figure.axes[0]
    assert drawn(axes, MARKERS["lora"]) == list(zip(TOTALS, (1000, 2000, 3_000_000), strict=True))
    assert drawn(axes, MARKERS["full"]) == [(total, total) for total in TOTALS]
    assert [word.get_text().strip() for word in made.words] == ["1,000", "3,000,000"]
    assert made.title.get_text() == "r = 4 on q v"


def test_the_lines_of_shares_are_shares():
    axes = architectures.draw(NAMES, TOTALS).picture.figure.axes[0]
    ends = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_xdata()[0] == architectures.XLIM[0]]
    shares = [float((line.get_ydata() / line.get_xdata())[1]) for line in ends]
    assert shares == pytest.approx(list(architectures.SHARES))


def test_the_right_axis_is_the_file_of_four_bytes_a_number():
    axes = architectures.draw(NAMES, TOTALS).picture.figure.axes[0]
    (right,) = axes.child_axes
    assert np.allclose(right.get_ylim(), np.array(axes.get_ylim()) * 4)
    assert [label.get_text() for label in right.get_yticklabels()] == ["1 kB", "1 MB", "1 GB", "1 TB"]


def test_the_guess_stands_at_the_last_model():
    assert drawn(architectures.draw(NAMES, TOTALS, guess=5e8).picture.figure.axes[0], "D") == [(1e11, 5e8)]
    assert not [line for line in architectures.draw(NAMES, TOTALS).picture.figure.axes[0].lines
                if line.get_marker() == "D"]  # fmt: skip


def test_no_two_names_stand_closer_than_a_line_of_text():
    axes = architectures.draw(NAMES, TOTALS).picture.figure.axes[0]
    places = [text.get_position()[0] for text in axes.texts if text.get_text() in NAMES]
    low, high = np.log10(architectures.XLIM)
    apart = np.diff((np.log10(places) - low) / (high - low))
    assert len(places) == 3 and apart.min() > 0.025


def test_small_multiples_have_a_panel_for_each_choice_and_a_series_for_each_rank():
    counts = {"q v": {1: [10, 20, 30], 8: [80, 160, 240]}, "all": {1: [1, 2, 3], 8: [8, 16, 24]}}
    made = architectures.draw_kinds(TOTALS, counts, (1, 8))
    for axes, (which, by_rank) in zip(made.axes, counts.items(), strict=True):
        assert axes.get_title(loc="left") == which
        for role, rank in (("fourth", 1), ("lora", 8)):
            assert [y for _, y in drawn(axes, MARKERS[role])] == by_rank[rank]
