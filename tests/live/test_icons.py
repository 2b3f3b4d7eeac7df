"""Icons says which tiles are complete and shows what was guessed."""

import pytest
import torch

from lora_teach.datasets.icons import icons
from lora_teach.pictures.icons.view import Icons
from tests.live.sweep import sweep

RIGHT = [6, 1, 16, 2, 16, 1, 8, 2]


def complete(used):
    """The tiles whose rank is at most this, by torch's own count."""
    return [name for name, tile in icons().items() if torch.linalg.matrix_rank(tile) <= used]


def test_every_position_names_the_complete_tiles():
    explorer = Icons.example()
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
    explorer = Icons.example()
    for used in (1, 2, 7, 16):
        explorer.move(outer_products=used)
        shown = zip(explorer.view.drawn.rebuilt, icons().items(), strict=True)
        for image, (name, tile) in shown:
            exact = torch.allclose(torch.tensor(image.get_array().data).float(), tile, atol=1e-4)
            framed = image.axes.spines["left"].get_linewidth() > 2
            assert exact == framed == (name in complete(used)), (name, used)


def test_bars_grow_to_the_rank_and_no_further():
    explorer = Icons.example()
    for used in (0, 5, 16):
        explorer.move(outer_products=used)
        heights = [bar.get_height() for bar in explorer.view.drawn.bars]
        assert heights == [min(rank, used) for rank in RIGHT]
        numbers = [text.get_text() for text in explorer.view.drawn.texts]
        assert numbers == [str(rank) if rank <= used else "" for rank in RIGHT]


@pytest.mark.parametrize(("guess", "right"), [(RIGHT, 8), ([1] * 8, 2), ([0] * 8, 0)])
def test_a_guess_is_drawn_and_judged_at_the_end_only(guess, right):
    explorer = Icons.example(guess)
    marks = [line for line in explorer.view.drawn.bars[0].axes.lines if line.get_marker() == "D"]
    assert [mark.get_ydata()[0] for mark in marks] == guess
    for values, sentence in sweep(explorer):
        assert ("right" in sentence) == (values["outer_products"] == 16)
    assert f"You had {right} of 8 right." in explorer.move(outer_products=16)
    assert f"You had {right} of 8 right." in explorer.view.twin().sentence


def test_without_a_guess_nothing_is_judged():
    assert "right" not in Icons.example().move(outer_products=16)


@pytest.mark.parametrize("guess", [3, "abc", [1, 2], [1] * 9, ["1"] * 8, [17] * 8, [-1] * 8, [None] * 8])
def test_a_guess_that_is_not_eight_ranks_is_refused(guess):
    with pytest.raises(ValueError, match="give 8 numbers from 1 to 16"):
        Icons(guess)


def test_the_twin_lists_the_ranks():
    sentence = Icons().twin().sentence
    assert "stripes 1, square 1, cross 2, checkerboard 2, disc 6, triangle 8, diagonal 16, noise 16." in sentence
