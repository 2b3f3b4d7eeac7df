"""Models and adapters as squares: areas are numbers."""

from lora_teach.plots import sizes

import pytest


def test_each_square_has_the_area_of_its_number():
    made = sizes.draw(900, {"Finnish": 40, "Zulu": 60, "Polish": 40})
    (axes,) = made.axes
    areas = sorted(patch.get_width() * patch.get_height() for patch in axes.patches)
    assert areas == pytest.approx([40, 40, 60] + [900] * 5)
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
