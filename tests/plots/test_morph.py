import numpy as np
import pytest
from matplotlib.colors import to_rgb

from lora_teach.pictures.morph import drawing as morph
from lora_teach.pictures.morph.drawing import Board, Written
from lora_teach.plots import Picture, figure, panels

LINES = [0.0, 1.0, 3.0], [2.0, 3.0, 5.0], [5.0, 2.0, 4.0]  # strengths, English judge, other judge


def board(written, letters=8):
    made = figure(3, 1.2)
    drawn = Board(panels(made), rows=2, letters=letters)
    picture = Picture(made, drawn.artists)
    drawn.show(written)
    return drawn, picture.pixels().reshape(-1, 3)


def share(pixels, colour):
    return (np.abs(pixels - np.asarray(to_rgb(colour)) * 255).max(axis=1) < 2).mean()


@pytest.mark.parametrize("sign", morph.LOOKS)
def test_each_taste_has_its_own_tile_and_letter(sign):
    _, pixels = board([Written("mmm", sign * 3)])
    face, edge, ink, _ = morph.LOOKS[sign]
    assert share(pixels, face) > 0.02 and share(pixels, ink) > 0.001
    others = {look[0] for look in morph.LOOKS.values()} - {face, edge, ink, "white"}
    assert all(share(pixels, other) == 0 for other in others)


def test_letters_of_the_other_judge_are_bold_besides():
    regular, bold = (morph._glyph("m", weight, 13).get_extents() for weight in ("normal", "bold"))
    assert bold.width > regular.width
    assert {sign: look[3] for sign, look in morph.LOOKS.items()} == {"e": "normal", "o": "bold", "-": "normal"}


def test_real_names_are_underlined_and_others_not():
    drawn, _ = board([Written("anna", "eeee", real=True), Written("xqz", "---")])
    (line,) = drawn._lines.get_segments()
    assert line[:, 0] == pytest.approx([0.05, 3.95])
    assert np.all((0 < line[:, 1]) & (line[:, 1] < 1))  # under the first name, above the second


def test_a_long_name_is_cut_with_dots():
    drawn, _ = board([Written("abcdefghij", "e" * 10)], letters=8)
    assert len(drawn._glyphs.get_paths()) == len(drawn._tiles.get_paths()) == 8
    dots = morph._glyph("…", "normal", drawn.size)
    assert np.array_equal(drawn._glyphs.get_paths()[-1].vertices, dots.vertices)


def test_nothing_of_the_names_before_is_left():
    _, alone = board([Written("io", "oo")])
    made = figure(3, 1.2)
    drawn = Board(panels(made), rows=2, letters=8)
    picture = Picture(made, drawn.artists)
    drawn.show([Written("margarita", "e" * 9, real=True), Written("xqz", "---")])
    picture.pixels()
    drawn.show([Written("io", "oo")])
    assert np.array_equal(picture.pixels().reshape(-1, 3), alone)


@pytest.mark.parametrize("guess", [None, 3])
def test_the_curves_fill_the_picture(guess):
    place = morph.Morph(guess=guess).curves.axes.get_position()
    assert place.x0 < 0.08 and place.x1 > 0.96 and place.y0 < 0.12


def test_dots_and_diamond_stand_on_the_lines():
    drawn = morph.Morph(guess=0.5)
    drawn.curves.set_lines(*LINES, "Zulu")
    drawn.show("", [Written("io", "oo")], 2.0)
    english, other = drawn.curves._dots
    assert (english.get_xdata(), english.get_ydata()) == ((2.0,), [4.0])
    assert (other.get_xdata(), other.get_ydata()) == ((2.0,), [3.0])
    assert (drawn.curves._diamond.get_xdata(), drawn.curves._diamond.get_ydata()) == ([0.5], [3.5])


def test_without_a_guess_there_is_no_diamond():
    drawn = morph.Morph()
    drawn.curves.set_lines(*LINES, "Zulu")
    assert [text.get_text() for text in drawn.curves.axes.get_legend().get_texts()] == ["English judge", "Zulu judge"]


def test_columns_have_titles_a_key_and_dots_at_their_strengths():
    columns = {title: [Written("io", "oo")] for title in ("×0", "×1")}
    made = morph.draw_columns(columns, "Zulu", LINES, (0.0, 1.0))
    *boards, curves = made.axes
    assert [axes.get_title(loc="left") for axes in boards] == ["×0", "×1"]
    assert [text.get_text() for text in made.legends[0].get_texts()] == [
        "English judge", "Zulu judge", "neither", "a real name",
    ]  # fmt: skip
    dots = [line for line in curves.lines if line.get_marker() in ("s", "o")]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in dots] == [(0.0, 1.0, 2.0, 3.0), (0.0, 1.0, 5.0, 2.0)]
    assert len(morph.draw_columns(columns, None).axes) == 2
