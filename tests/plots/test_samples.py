import numpy as np
import pytest

from lora_teach.pictures.playground.samples import Samples
from lora_teach.plots import COLOURS, Picture, figure
from lora_teach.plots.name_tiles import Written

PIXELS = np.linspace(0, 1, 8 * 64).reshape(8, 64)
TRUTH = [0, 1, 2, 3, 4, 5, 6, 7]
NAMES = [Written(name, "e" * len(name)) for name in ("anna", "bert", "carl", "dora", "emil", "fritz", "gerda", "hans")]


@pytest.fixture
def samples():
    made = figure(10, 2)
    drawn = Samples(made)
    drawn.picture = Picture(made, drawn.moving)
    return drawn


def seen(artists):
    return [artist for artist in artists if artist.get_visible()]


def test_wrong_readings_have_a_frame_a_cross_and_another_colour(samples):
    samples.digits(PIXELS, TRUTH, [0, 1, 2, 3, 4, 5, 6, 9], TRUTH)
    before, after = samples._halves
    assert [frame.get_visible() for frame in before._frames] == [False] * 7 + [True]
    assert [text.get_text() for text in before._read][-2:] == ["→ 6 ✓", "→ 9 ✗"]
    assert {text.get_color() for text in before._read[:7]} == {COLOURS["ink"]}
    assert before._read[7].get_color() == COLOURS["full"] and before._read[7].get_weight() == "bold"
    assert not seen(after._frames)


def test_each_digit_stands_above_its_reading(samples):
    samples.digits(PIXELS, TRUTH, TRUTH, TRUTH)
    half = samples._halves[0]
    shown = np.asarray(half._image.get_array())
    for index, text in enumerate(half._read):
        left = index * 11
        assert np.array_equal(shown[:, left : left + 8], PIXELS[index].reshape(8, 8).astype(shown.dtype))
        assert left - 0.5 < text.get_position()[0] < left + 7.5


def test_names_take_the_digits_place_and_the_other_way_round(samples):
    samples.digits(PIXELS, TRUTH, TRUTH, TRUTH)
    assert samples.names(NAMES, NAMES, "Zulu")  # the key came: the background changed
    for half in samples._halves:
        assert not seen(half._digits) and seen(half._names)
    assert not samples.names(NAMES, NAMES, "Zulu")
    assert samples.digits(PIXELS, TRUTH, TRUTH, TRUTH)
    for half in samples._halves:
        assert seen(half._digits) and not seen(half._names)
    assert samples._halves[0].axes.get_legend() is None


def test_without_a_run_the_right_half_is_empty(samples):
    samples.digits(PIXELS, TRUTH, TRUTH, [])
    assert not seen([*samples._halves[1]._digits, *samples._halves[1]._names])
    samples.names(NAMES, [], "Zulu")
    assert not seen([*samples._halves[1]._digits, *samples._halves[1]._names])


def test_the_key_names_the_language(samples):
    samples.names(NAMES, NAMES, "Zulu")
    texts = [text.get_text() for text in samples._halves[0].axes.get_legend().get_texts()]
    assert texts == ["English judge", "Zulu judge", "neither", "a real name"]


def test_nothing_is_cut_off_or_overlaps(samples):
    samples.titles("before: 3.13 nats a letter on the validation names", "after run 12: 2.07 nats a letter")
    samples.digits(PIXELS, TRUTH, [9] * 8, [9] * 8)
    samples.picture.pixels()
    for half in samples._halves:
        boxes = [text.get_window_extent() for text in half._read]
        assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:], strict=False))
        assert boxes[0].x0 > 0 and boxes[-1].x1 < 1000 and min(box.y0 for box in boxes) > 0
    titles = [half.title.get_window_extent() for half in samples._halves]
    assert titles[0].x1 < titles[1].x0 and titles[1].x1 < 1000
