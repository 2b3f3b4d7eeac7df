"""Icons says which tiles are complete and shows what was guessed; outer products are drawn as they are."""

from lora_teach.datasets.icons import icons
from lora_teach.live import explore
from lora_teach.pictures.icons import Icons, draw_outer_products
from tests.live.sweep import sweep

import numpy as np
import pytest
import torch

RIGHT = [6, 1, 16, 2, 16, 1, 8, 2]


def complete(used):
    """The tiles whose rank is at most this, by torch's own count."""
    return [name for name, tile in icons().items() if torch.linalg.matrix_rank(tile) <= used]


def test_every_position_names_the_complete_tiles():
    explorer = explore(Icons())
    for used in range(17):
        sentence = explorer.move(outer_products=used)
        expected = complete(used)
        if not expected:
            assert "no tile is complete" in sentence
        elif len(expected) == 8:
            assert sentence.startswith("All eight tiles are complete")
        else:
            assert f"{len(expected)} of 8 tiles are complete: {', '.join(expected)}." in sentence


def test_a_tile_is_drawn_exactly_from_its_rank_on_and_framed_only_then():
    explorer = explore(Icons())
    for used in (1, 2, 7, 16):
        explorer.move(outer_products=used)
        shown = zip(explorer.view.rebuilt, icons().items(), strict=True)
        for image, (name, tile) in shown:
            exact = torch.allclose(torch.tensor(image.get_array().data).float(), tile, atol=1e-4)
            framed = image.axes.spines["left"].get_linewidth() > 2
            assert exact == framed == (name in complete(used)), (name, used)


def test_bars_grow_to_the_rank_and_no_further():
    explorer = explore(Icons())
    for used in (0, 5, 16):
        explorer.move(outer_products=used)
        heights = [bar.get_height() for bar in explorer.view.bars]
        assert heights == [min(rank, used) for rank in RIGHT]
        numbers = [text.get_text() for text in explorer.view.texts]
        assert numbers == [str(rank) if rank <= used else "" for rank in RIGHT]


@pytest.mark.parametrize(("guess", "right"), [(RIGHT, 8), ([1] * 8, 2), ([0] * 8, 0)])
def test_a_guess_is_drawn_and_judged_at_the_end_only(guess, right):
    explorer = explore(Icons(guess))
    marks = [line for line in explorer.view.bars[0].axes.lines if line.get_marker() == "D"]
    assert [mark.get_ydata()[0] for mark in marks] == guess
    for values, sentence in sweep(explorer):
        assert ("right" in sentence) == (values["outer_products"] == 16)
    assert f"You had {right} of 8 right." in explorer.move(outer_products=16)
    assert f"You had {right} of 8 right." in explorer.view.static_figure().sentence


def test_without_a_guess_nothing_is_judged():
    assert "right" not in explore(Icons()).move(outer_products=16)


@pytest.mark.parametrize("guess", [3, "abc", [1, 2], [1] * 9, ["1"] * 8, [17] * 8, [-1] * 8, [None] * 8])
def test_a_guess_that_is_not_eight_ranks_is_refused(guess):
    with pytest.raises(ValueError, match="Give 8 numbers in a list, each a rank from 0 to 16"):
        Icons(guess)


def test_the_static_figure_lists_the_ranks():
    sentence = Icons().static_figure().sentence
    assert "stripes 1, square 1, cross 2, checkerboard 2, disc 6, triangle 8, diagonal 16, noise 16." in sentence


A = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]).T  # (3, 2)
B = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.5, 0.5, -1.0]])  # (2, 4)


def images(axes):
    return [np.asarray(image.get_array()) for image in axes.images]


def test_each_outer_product_with_its_column_and_row_and_the_sum():
    *parts, total = draw_outer_products(A, B).axes
    for index, axes in enumerate(parts):
        product, column, row = images(axes)
        assert np.array_equal(product, np.outer(A[:, index], B[index]))
        assert np.array_equal(column[:, 0], A[:, index]) and np.array_equal(row[0], B[index])
    assert np.array_equal(images(total)[0], A @ B)
    limits = {image.get_clim() for axes in (*parts, total) for image in axes.images}
    assert limits == {(-2.0, 2.0)}  # one scale for all, so that a colour means one number


def test_a_single_outer_product_has_no_sum_beside_it():
    (axes,) = draw_outer_products(A[:, :1], B[:1]).axes
    assert axes.get_xlabel() == "column × row"
