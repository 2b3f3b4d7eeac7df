"""The answer sheet's pictures: every tick and cross where its mark is."""

import numpy as np
import pytest

from lora_teach.pictures.answer_sheet import drawing as plots

COLUMNS = ("valid", "where", "when", "who")
SEEN = [True, True, False]
MARKS = np.array([[1, 1, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=bool)


def cells(line):
    return sorted((float(y), int(x)) for x, y in zip(*line.get_data(), strict=True))


def sheet(**options):
    return plots.AnswerSheet(["One.", "Two.", "Three."], SEEN, COLUMNS, 10, **options)


def test_ticks_stand_where_marks_are_right_and_crosses_where_they_are_wrong():
    drawn = sheet()
    drawn.fill(MARKS)
    assert cells(drawn.marks.right) == [(0, 0), (0, 1), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]
    third = 2 + plots.GAP
    assert cells(drawn.marks.wrong) == [(0, 2), (third, 0), (third, 1), (third, 2), (third, 3)]
    assert cells(drawn.marks.open) == []
    assert [total.get_text() for total in drawn._totals] == ["2", "2", "1", "2"]


def test_a_sheet_half_filled_leaves_the_rest_open():
    drawn = sheet()
    drawn.fill(MARKS[:2])
    third = 2 + plots.GAP
    assert cells(drawn.marks.open) == [(third, 0), (third, 1), (third, 2), (third, 3)]
    drawn.fill(MARKS[:0])
    assert len(cells(drawn.marks.open)) == 12 and [total.get_text() for total in drawn._totals] == [""] * 4


def test_tick_and_cross_differ_in_shape_and_in_colour():
    drawn = sheet()
    assert drawn.marks.right.get_color() != drawn.marks.wrong.get_color()
    assert drawn.marks.right.get_marker() is plots.TICK and drawn.marks.wrong.get_marker() == "x"


def test_the_loss_axis_grows_with_the_loss_and_scores_stand_at_their_steps():
    drawn = sheet()
    drawn.draw_losses([2.0, 8.0])
    assert drawn._loss.get_xydata().tolist() == [[1, 2], [2, 8]] and drawn._axes.get_ylim()[1] > 8
    drawn.draw_scores({0: 0, 5: 2})
    assert drawn._score.get_xydata().tolist() == [[0, 0], [5, 2]]


@pytest.mark.parametrize("step", [4, 30])
def test_a_guess_is_a_hollow_diamond_within_the_picture(step):
    drawn = sheet(guess=(step, 20))
    (mark,) = [line for axes in drawn.picture.figure.axes for line in axes.lines if line.get_marker() == "D"]
    assert mark.get_xydata().tolist() == [[step, 20]] and mark.get_markerfacecolor() == "none"
    assert mark.axes.get_xlim()[1] >= step


def test_small_multiples_count_what_is_right_in_both_kinds_of_pattern():
    figure = plots.multiples({"step 0": MARKS & False, "step 5": MARKS}, SEEN, COLUMNS)
    said = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert said == [
        ["patterns of training: 0 of 2", "patterns never seen: 0 of 1"],
        ["patterns of training: 1 of 2", "patterns never seen: 0 of 1"],
    ]
    assert [axes.get_title(loc="center") for axes in figure.axes] == ["step 0", "step 5"]
