from lora_teach.plots import Picture, figure, name_tiles, panels
from lora_teach.plots.name_tiles import Board, Written

import numpy as np
import pytest
from matplotlib.colors import to_rgb


def board(written, letters=8):
    made = figure(3, 1.2)
    drawn = Board(panels(made), rows=2, letters=letters)
    picture = Picture(made, drawn.artists)
    drawn.show(written)
    return drawn, picture.pixels().reshape(-1, 3)


def share(pixels, colour):
    return (np.abs(pixels - np.asarray(to_rgb(colour)) * 255).max(axis=1) < 2).mean()


@pytest.mark.parametrize("sign", name_tiles.LOOKS)
def test_each_taste_has_its_own_tile_and_letter(sign):
    _, pixels = board([Written("mmm", sign * 3)])
    face, edge, ink, _ = name_tiles.LOOKS[sign]
    assert share(pixels, face) > 0.02 and share(pixels, ink) > 0.001
    others = {look[0] for look in name_tiles.LOOKS.values()} - {face, edge, ink, "white"}
    assert all(share(pixels, other) == 0 for other in others)


def test_letters_of_the_other_judge_are_bold_besides():
    regular, bold = (name_tiles._glyph("m", weight, 13).get_extents() for weight in ("normal", "bold"))
    assert bold.width > regular.width
    assert {sign: look[3] for sign, look in name_tiles.LOOKS.items()} == {"e": "normal", "o": "bold", "-": "normal"}


def test_real_names_are_underlined_and_others_not():
    drawn, _ = board([Written("anna", "eeee", real=True), Written("xqz", "---")])
    (line,) = drawn._lines.get_segments()
    assert line[:, 0] == pytest.approx([0.05, 3.95])
    assert np.all((0 < line[:, 1]) & (line[:, 1] < 1))  # under the first name, above the second


def test_a_long_name_is_cut_with_dots():
    drawn, _ = board([Written("abcdefghij", "e" * 10)], letters=8)
    assert len(drawn._glyphs.get_paths()) == len(drawn._tiles.get_paths()) == 8
    dots = name_tiles._glyph("…", "normal", drawn.size)
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
