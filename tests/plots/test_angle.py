"""The pictures of Angle: what is drawn is what was handed over."""

import numpy as np
import pytest

from lora_teach.pictures.angle import drawing as angle
from lora_teach.plots.style import settle

TILES = np.arange(3 * 64).reshape(3, 8, 8) / 192
READ = {"truth": [3, 7, 8], "base": [3, 1, 8], "LoRA": [3, 7, 0], "full": [3, 7, 8]}
ACCURACIES = {"base": 0.4, "lora": 0.9, "full": 0.95}


def shown(earlier=(), guess=None, guessed=True):
    drawn = angle.draw(3, [1, 2, 4], 20, guess)
    losses = {"lora": [2.0] * 20, "full": [1.0] * 20}
    drawn.update(TILES, READ, losses, ACCURACIES, 2, earlier, guessed)
    return drawn


def ends(line):
    return line.get_xydata().tolist()


@pytest.mark.parametrize("down", [False, True])
def test_the_digits_lie_side_by_side_or_below_each_other_unturned(down):
    laid = angle.strip(TILES, down)
    assert laid.shape == ((26, 8) if down else (8, 26))
    for place, tile in enumerate(TILES):
        part = slice(9 * place, 9 * place + 8)
        assert np.array_equal(laid[part] if down else laid[:, part], tile)
    assert np.isnan(laid).sum() == 2 * 8


def test_a_misread_digit_has_another_colour_and_a_cross():
    drawn = shown()
    texts = {who: [text.get_text() for text in row] for who, row in drawn.read.items()}
    assert texts == {"truth": ["3", "7", "8"], "base": ["3", "1 ✗", "8"], "LoRA": ["3", "7", "0 ✗"], "full": [*"378"]}
    assert drawn.read["base"][1].get_color() != drawn.read["base"][0].get_color()


def test_curves_levels_and_dots_stand_at_their_numbers():
    drawn = shown(earlier=[(4, [3.0] * 20, 0.5), (1, [4.0] * 20, 0.25)])
    assert ends(drawn.dots["lora"]) == [[2, 90]] and ends(drawn.dots["ghost"]) == [[4, 50], [1, 25]]
    assert [level.get_ydata()[0] for level in drawn.levels.values()] == pytest.approx([95, 40])
    assert ends(drawn.curves["lora"])[-1] == [20, 2] and ends(drawn.curves["full"])[0] == [1, 1]
    assert [len(ends(curve)) for curve in drawn.ghosts] == [20, 20, 0, 0, 0, 0]
    drawn.update(TILES, READ, {"lora": [], "full": []}, ACCURACIES, 2, [], True)
    assert not any(map(ends, [*drawn.ghosts, drawn.dots["ghost"], drawn.curves["lora"]]))


def test_full_fine_tuning_and_lora_differ_by_more_than_colour():
    drawn = shown()
    assert drawn.curves["full"].get_linestyle() != drawn.curves["lora"].get_linestyle()
    labels = [text.get_text() for text in drawn.picture.figure.legends[0].get_texts()]
    assert labels == ["LoRA now", "full fine-tuning", "earlier moves", "before"]


def test_the_guess_can_be_hidden():
    assert shown().guess is None
    assert ends(shown(guess=70).guess) == [[1, 70]] and not shown(guess=70, guessed=False).guess.get_visible()


def test_the_small_multiples_fill_the_last_run_and_leave_shorter_ones_hollow():
    losses = {one: [1.0] * 40 for one in (1, 2, 4, None)}
    accuracies = {1: [0.1, 0.3], 2: [0.2, 0.4], 4: [0.6, 0.9], None: [0.8, 0.95]}
    tasks = {"first": (TILES, 0.05, losses, {one: shares[-1:] for one, shares in accuracies.items()})}
    tasks["second"] = TILES, 0.05, losses, accuracies
    made = angle.draw_tasks(tasks, [1, 2, 4], guess=60, block=5)
    settle(made)
    assert [x for x, _ in ends(made.axes[2].lines[0])][:3] == [2.5, 7.5, 12.5]  # the middles of the blocks
    first, second = made.axes[4], made.axes[5]
    marks = [(ends(line)[0], line.get_fillstyle()) for line in second.lines if len(line.get_xdata()) == 1]
    assert marks == [([0, 5], "full")] + [
        ([place, pytest.approx(100 * share)], fill)
        for place, one in enumerate(accuracies, start=1)
        for share, fill in zip(accuracies[one], ("none", "full"), strict=True)
    ]
    numbers = [text.get_text() for text in second.texts]
    assert numbers[:5] == ["5 %", "30 %", "40 %", "90 %", "95 %"] and numbers[-1].startswith("hollow")
    assert [text.get_text() for text in first.texts][-1] == "your guess"
    assert made.axes[3].get_xlim() == (0, 200)
    assert [axes.get_ylabel() for axes in made.axes[2:4]] == ["loss (nats a digit)", ""]


@pytest.mark.parametrize(("guess", "side"), [(20, "bottom"), (95, "top")])
def test_the_share_that_was_guessed_is_written_on_the_side_away_from_the_guess(guess, side):
    accuracies = {1: [0.9], 2: [0.9], 4: [0.9], None: [0.9]}
    made = angle.draw_tasks({"only": (TILES, 0.05, {one: [1.0] for one in accuracies}, accuracies)}, [1, 2, 4], guess)
    assert [text.get_va() for text in made.axes[2].texts if text.get_text() == "90 %"] == [side, "top", "top", "top"]
