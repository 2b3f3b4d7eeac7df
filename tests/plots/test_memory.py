"""The bars of memory stack, are told apart without colour, and their axis follows them."""

from lora_teach.pictures.memory import drawing as memory

import numpy as np
import pytest

NAMES = ["full fine-tuning", "LoRA", "LoRA with\ncheckpointing"]
HELD = [(4e9, 4e9, 8e9, 2e9), (4.1e9, 0.1e9, 0.2e9, 1.9e9), (4.1e9, 0.1e9, 0.2e9, 0.5e9)]
TOKENS = [32, 64, 128]
SHARES = [[0.30, 0.35, 0.4], [0.26, 0.27, 0.28]]


@pytest.fixture
def drawn():
    made = memory.draw(NAMES, 32, 128, guess=(64, 0.5))
    made.update("a title", HELD, [18e9, 6e9, 5e9], TOKENS, SHARES, 64)
    return made


def test_bars_stack_to_the_totals(drawn):
    for bar, parts in enumerate(HELD):
        rectangles = [part[bar] for part in drawn.bars]
        assert [one.get_height() for one in rectangles] == pytest.approx(np.array(parts) / 1e9)
        for below, above in zip(rectangles, rectangles[1:], strict=False):
            assert above.get_y() == pytest.approx(below.get_y() + below.get_height())
        assert drawn.words[bar].get_text().startswith(f"{sum(parts) / 1e9:.{1 if bar == 0 else 2}f} GB")
    assert drawn.words[1].get_text().endswith("35%")
    assert list(drawn.measured.get_ydata()) == [18, 6, 5]
    assert list(drawn.dots[0].get_ydata()) == [pytest.approx(6.3 / 18)]


def test_each_part_has_a_hatch_of_its_own(drawn):
    assert len({part[0].get_hatch() for part in drawn.bars}) == len(memory.PARTS) == len(drawn.bars)


def test_the_axis_follows_the_largest_bar(drawn):
    assert drawn.axes[0].get_ylim() == (0, 30)
    drawn.update("another", [[part / 100 for part in parts] for parts in HELD], None, TOKENS, SHARES, 32)
    assert drawn.axes[0].get_ylim() == (0, pytest.approx(0.3))
    assert len(drawn.measured.get_ydata()) == 0


def test_the_guess_is_a_diamond_and_none_draws_nothing(drawn):
    diamonds = [line for line in drawn.axes[1].get_lines() if line.get_marker() == "D"]
    assert [tuple(line.get_xydata()[0]) for line in diamonds] == [(64, 0.5)]
    bare = memory.draw(NAMES, 32, 128)
    assert not [line for line in bare.axes[1].get_lines() if line.get_marker() == "D"]


def test_small_multiples_share_a_scale_and_count_from_the_first_bar():
    held = {
        "all kept": {"1 × 8 tokens": {"full": (1e9, 1e9, 2e9, 0), "r 8": (1e9, 0, 0, 0)}},
        "with checkpointing": {"1 × 8 tokens": {"full": (1e9, 1e9, 1e9, 0), "r 8": (1e9, 0, 0, 0)}},
    }
    figure = memory.draw_ranks(held)
    said = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert said == [["100%", "25%"], ["75%", "25%"]]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert figure.axes[0].get_title(loc="left") == "1 × 8 tokens (100 % is 4 GB)"
    assert [axes.get_ylabel() for axes in figure.axes] == list(held)
