import itertools

import numpy as np
import pytest

from lora_teach.pictures.playground.drawing import LORA_ROLES, Curve, Playground, role_of
from lora_teach.plots import COLOURS
from lora_teach.plots.style import LINES, MARKERS
from tests.live.sweep import assert_whole


def curve(number, losses, planned=None, full=False):
    return Curve(number, f"run {number}", role_of(number, full), planned or len(losses), losses)


FALLING = [10 / (1 + step) for step in range(200)]


@pytest.fixture
def drawn():
    return Playground()


def test_bar_is_to_scale(drawn):
    drawn.bar.show("next", trainable=250, total=1000)
    assert drawn.bar._trains.get_width() == 0.25 and drawn.bar._trains.get_x() == 0.75
    assert drawn.bar._frozen.get_width() == 1.0
    assert drawn.bar._inside.get_text() == "750 frozen" and drawn.bar._beside.get_text() == "250 train: 25.0%"


def test_bar_of_full_fine_tuning_is_full_and_one_that_cant_be_trained_is_not_drawn(drawn):
    drawn.bar.show("next", trainable=1000, total=1000)
    assert drawn.bar._trains.get_width() == 1.0 and drawn.bar._beside.get_text() == "1,000 train"
    drawn.bar.show("no")
    assert not drawn.bar._frozen.get_visible() and drawn.bar._trains.get_width() == 0
    assert drawn.bar._beside.get_text() == "" and drawn.bar._title.get_color() == COLOURS["full"]


def test_full_fine_tuning_keeps_its_own_look_and_neighbours_of_lora_differ_twice():
    assert {role_of(number, full=True) for number in range(1, 9)} == {"full"}
    for one, other in itertools.pairwise(role_of(number, full=False) for number in range(1, 9)):
        assert COLOURS[one] != COLOURS[other] and LINES[one] != LINES[other] and MARKERS[one] != MARKERS[other]
    assert "full" not in LORA_ROLES


def test_newest_is_thick_and_earlier_ones_are_thin_and_numbered_at_their_ends(drawn):
    drawn.losses.show([curve(1, FALLING), curve(2, FALLING[:50], full=True)], curve(3, FALLING))
    thin = drawn.losses._axes.lines[2:]
    assert [line.get_linewidth() for line in thin] == [1.3, 1.3] and drawn.losses._mean.get_linewidth() == 3
    assert [line.get_linestyle() for line in thin] == ["-", "--"]
    assert [(text.get_text(), round(text.get_position()[0])) for text in drawn.losses._ends] == [("1", 202), ("2", 52)]
    labels = [text.get_text() for text in drawn.losses._axes.get_legend().get_texts()]
    assert labels == ["1  run 1", "2  run 2", "3  run 3"]


def test_numbers_of_lines_that_end_together_dont_overlap(drawn):
    drawn.losses.show([curve(number, FALLING) for number in range(1, 9)], None)
    drawn.picture.pixels()
    boxes = sorted((text.get_window_extent() for text in drawn.losses._ends), key=lambda box: box.y0)
    assert all(lower.y1 <= upper.y0 + 1 for lower, upper in itertools.pairwise(boxes))


def test_axis_reaches_over_every_loss_as_a_run_goes_on(drawn):
    drawn.losses.show([], curve(1, [2.0], planned=200))
    drawn.losses.move(curve(1, [2.0, 2.5, 0.001], planned=200))
    low, high = drawn.losses._axes.get_ylim()
    assert low < min(curve(1, [2.0, 2.5, 0.001], 200).mean) and 2.5 < high
    assert not drawn.losses.move(curve(1, [2.0, 2.5, 1.0], planned=200))
    assert drawn.losses._axes.get_xlim()[1] >= 200


def test_a_loss_far_above_all_beginnings_is_cut_off_and_told(drawn):
    drawn.losses.show([], curve(1, [2.0, 5e6, 2.3], planned=200))
    assert drawn.losses._axes.get_ylim()[1] < 4
    assert drawn.losses._title.get_text() == "Loss of each run, cut off: the highest is 5e+06"
    drawn.losses.show([], curve(1, [2.0, 2.1], planned=200))
    assert drawn.losses._title.get_text() == "Loss of each run"


def test_runs_that_went_leave_nothing(drawn):
    drawn.losses.show([], None)
    empty = drawn.picture.whole()
    drawn.losses.show([curve(1, FALLING)], curve(2, FALLING[:30]))
    drawn.losses.show([], None)
    drawn.losses._axes.set_ylim(0.01, 20)
    assert np.array_equal(drawn.picture.whole(), empty)


def test_spectrum_marks_the_rank(drawn):
    assert drawn.spectrum.show("hidden1", [20.0, 10.0, 0.0, 0.0], 2, "lora")
    assert list(drawn.spectrum._edge.get_xdata()) == [2.5, 2.5]
    assert drawn.spectrum._told.get_text() == "rank 2 of 4" and drawn.spectrum._title.get_text() == "ΔW of hidden1"
    assert drawn.spectrum._axes.get_ylim()[1] > 20
    drawn.spectrum.show("hidden1", [2.0, 1.0, 0.5, 0.25], 4, "full")
    assert len(drawn.spectrum._edge.get_xdata()) == 0  # nothing is missing from full rank
    drawn.spectrum.show("hidden1", [0.0] * 4, 0, "full")
    drawn.spectrum.clear()
    assert len(drawn.spectrum._values.get_xdata()) == 0


def test_what_is_drawn_quickly_is_what_is_drawn_whole(drawn):
    drawn.losses.show([curve(1, FALLING)], curve(2, FALLING[:3], planned=300))
    drawn.picture.background_changed()
    for taken in (4, 60, 200):
        changed = drawn.losses.move(curve(2, [2 * loss for loss in FALLING[:taken]], planned=300))
        changed |= drawn.spectrum.show("hidden1", [taken / 2, taken / 4, 0.0], 2, "full")
        drawn.bar.show(f"taken {taken}", taken, 1000)
        if changed:
            drawn.picture.background_changed()
        drawn.picture.pixels()
        assert_whole(drawn, taken)
