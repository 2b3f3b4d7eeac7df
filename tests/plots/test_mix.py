"""The pictures of notebook 06: areas are numbers, and the plane has what was measured."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from lora_teach.pictures.mix import drawing as mix
from lora_teach.pictures.mix.drawing import Plane
from lora_teach.pictures.morph.drawing import Written
from lora_teach.plots import COLOURS, sizes

PATH = np.array([[2.0, 3.5], [2.5, 2.4], [4.0, 2.0]])  # (shares, losses)
PLANE = Plane(("Finnish", "Zulu"), (3.0, 3.3), [0.0, 0.5, 1.0], PATH)
NAMES = [Written("kuario", "111111"), Written("duma", "2221"), Written("xqz", "---")]


def areas(axes):
    return [patch.get_width() * patch.get_height() for patch in axes.patches if isinstance(patch, Rectangle)]


def point(axes, marker):
    return [tuple(map(float, np.ravel(line.get_data()))) for line in axes.lines if line.get_marker() == marker]


def test_each_square_has_the_area_of_its_number():
    made = sizes.draw(900, {"Finnish": 40, "Zulu": 60, "Polish": 40})
    (axes,) = made.axes
    assert sorted(areas(axes)) == pytest.approx([40, 40, 60] + [900] * 5)
    assert axes.get_aspect() == 1
    texts = [text.get_text() for text in axes.texts]
    assert "a model each: 3,600 numbers" in texts and "one model, an adapter each: 1,040" in texts
    assert [texts.count(language) for language in ("English", "Finnish", "Zulu", "Polish")] == [1, 2, 2, 2]


def test_no_two_squares_touch():
    (axes,) = sizes.draw(342_720, dict.fromkeys("abcdefgh", 20_736)).axes
    boxes = [patch.get_bbox() for patch in axes.patches]
    assert not any(a.overlaps(b) for index, a in enumerate(boxes) for b in boxes[:index])
    whole = axes.dataLim.frozen()
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    assert left <= whole.x0 and whole.x1 <= right and low <= whole.y0 and whole.y1 <= high


def test_adapters_are_filled_as_high_as_their_weight():
    drawn = mix.draw(PLANE, 900, (40, 60))
    drawn.show(0.25, NAMES)
    outlines = [fill.get_width() ** 2 for fill in drawn.squares._fills]
    assert outlines == pytest.approx([40, 60])
    filled = [fill.get_width() * fill.get_height() for fill in drawn.squares._fills]
    assert filled == pytest.approx([30, 15])
    assert [word.get_text() for word in drawn.squares._words] == ["Finnish\n× 0.75", "Zulu\n× 0.25"]


def test_the_plane_has_base_ends_half_of_both_gains_and_the_guess():
    drawn = mix.draw(Plane(("Finnish", "Zulu"), (3.0, 3.3), [0, 0.5, 1], PATH, (1.2, 5.0)), 900, (40, 60))
    axes = drawn.picture.figure.axes[2]
    assert point(axes, "s") == [(3.0, 3.3)] and point(axes, "v") == [(4.0, 2.0)] and (2.0, 3.5) in point(axes, "o")
    assert point(axes, "D") == [(1.2, 5.0)]
    (region,) = axes.patches
    assert region.get_bbox().max == pytest.approx([2.5, (3.3 + 2.0) / 2])
    (low_x, high_x), (low_y, high_y) = axes.get_xlim(), axes.get_ylim()
    assert low_x < 1.2 and 4.0 < high_x and low_y < 2.0 and 5.0 < high_y  # the guess has been made room for


def test_the_dot_stands_on_the_path():
    drawn = mix.draw(PLANE, 900, (40, 60))
    for share, expected in ((0.0, PATH[0]), (0.5, PATH[1]), (0.75, (PATH[1] + PATH[2]) / 2)):
        drawn.show(share, NAMES)
        assert np.ravel(drawn.dot.get_data()) == pytest.approx(expected)


def test_without_a_guess_there_is_no_diamond():
    assert not point(mix.draw(PLANE, 900, (40, 60)).picture.figure.axes[2], "D")


def test_tiles_tell_the_judges_apart_by_colour_and_weight():
    drawn = mix.draw(PLANE, 900, (40, 60))
    drawn.show(0.5, NAMES)
    faces = [tuple(face) for face in drawn.board._tiles.get_facecolor()]
    assert faces[0] == to_rgba(COLOURS["lora"]) and faces[6] == to_rgba(COLOURS["other"])
    assert {sign: look[3] for sign, look in mix.TILES.items()} == {"1": "normal", "2": "bold", "-": "normal"}


def test_twin_has_a_board_and_a_dot_for_each_mixture():
    made = mix.draw_twin(PLANE, 900, (40, 60), {0.0: NAMES, 0.5: NAMES, 1.0: NAMES})
    titles = [axes.get_title(loc="left").strip() for axes in made.axes]
    assert titles[:3] == ["1 Finnish", "0.5 Finnish\n0.5 Zulu", "1 Zulu"]
    assert [round(area) for area in areas(made.axes[3])] == [900, 40, 20, 60, 30]  # outline, filling
    assert (2.5, 2.4) in point(made.axes[-1], "o")
