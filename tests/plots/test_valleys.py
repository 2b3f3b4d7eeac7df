"""The picture of the valleys: what is drawn is what was measured."""

import copy
from math import inf

import pytest

from lora_teach.pictures.valleys import drawing as valleys
from lora_teach.plots.style import settle

LRS = (0.001, 0.01, 0.1)
LOSSES = {1: {0.01: 0.5, 0.001: 1.0, 0.1: 0.8}, 64: {0.001: 0.4, 0.01: 0.1, 0.1: inf}}
BOTTOMS = {1: 0.01, 64: 0.001}


def points(line):
    return list(map(tuple, line.get_xydata().tolist()))


def test_each_rank_has_a_line_with_a_marker_of_its_own_and_a_mark_at_its_bottom():
    drawn = valleys.draw((1, 64), LRS)
    drawn.update("title", LOSSES, BOTTOMS)
    panel = drawn.panel
    assert points(panel.lines[1]) == [(0.001, 1.0), (0.01, 0.5), (0.1, 0.8)]
    assert points(panel.lines[64]) == [(0.001, 0.4), (0.01, 0.1), (0.1, valleys.TOP)]
    assert points(panel.beyond) == [(0.1, valleys.TOP)] and panel.words.get_visible()
    for rank, lr in BOTTOMS.items():
        assert points(panel.marks[rank])[0] == (lr, LOSSES[rank][lr])
        assert panel.marks[rank].get_marker() == panel.lines[rank].get_marker()
    assert panel.lines[1].get_marker() != panel.lines[64].get_marker()
    assert points(drawn.joined) == [(1, 0.01), (64, 0.001)]


def test_what_is_not_known_is_not_drawn():
    drawn = valleys.draw((1, 64), LRS)
    drawn.update("title", LOSSES, BOTTOMS, 0.1)
    drawn.update("title", {1: {0.01: 0.5}}, {})
    gone = [drawn.panel.lines[64], drawn.panel.beyond, *drawn.panel.marks.values(), *drawn.bottoms.values()]
    assert not any(map(points, [*gone, *drawn.dots.values(), drawn.joined]))
    assert not drawn.panel.words.get_visible() and not any(line.get_visible() for line in drawn.here)


@pytest.mark.parametrize("beyond", LRS)
def test_the_words_beside_a_run_that_blew_up_stay_inside_the_panel(beyond):
    drawn = valleys.draw((1, 64), LRS)
    drawn.update("title", {1: {beyond: inf}}, {})
    drawn.picture.pixels()
    words, panel = drawn.panel.words.get_window_extent(), drawn.panel.axes.bbox
    assert panel.x0 <= words.x0 and words.x1 <= panel.x1


def test_the_loss_axis_reaches_below_every_loss():
    assert valleys.depth(LOSSES) == valleys.LOW
    assert valleys.depth({1: {0.01: 0.005, 0.1: inf}}) == pytest.approx(0.0035)


def test_other_ranks_get_looks_of_their_own():
    looks = valleys.roles((1, 2, 8, 64))
    assert looks[1] == valleys.ROLES[1] and len(set(looks.values())) == 4


def test_all_rules_stand_on_one_scale_beside_all_bottoms():
    before = copy.deepcopy(LOSSES)
    made = valleys.draw_rules({"one": (LOSSES, BOTTOMS), "two": (LOSSES, {})}, (1, 64), LRS, guess=0.03)
    one, two, right = made.axes
    assert one.get_ylim() == two.get_ylim() and one.get_xlim() == two.get_xlim()
    assert [(0.001, 0.4)] == [point for line in one.lines for point in points(line)[:1] if point == (0.001, 0.4)][:1]
    assert any(points(line) == [(1, 0.01), (64, 0.001)] for line in right.lines)
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert labels == ["your guess for rank 64,\ntwo", "one", "two"]
    settle(made)
    assert before == LOSSES


def test_every_panel_keeps_its_room_when_a_layout_is_solved():
    made = valleys.draw_rules({"one": (LOSSES, BOTTOMS), "two": (LOSSES, BOTTOMS)}, (1, 64), LRS)
    settle(made)
    assert all(axes.get_position().width > 0.15 for axes in made.axes)
    drawn = valleys.draw((1, 64), LRS, guess=5.0)  # a guess far off its axis
    assert [axes.get_position().width > 0.25 for axes in drawn.picture.figure.axes] == [True, True]
