"""The photo at rank r: what it says and shows is what the numbers are."""

import re

from lora_teach.datasets.photo import centred_pagoda
from lora_teach.live import explore
from lora_teach.measure import truncate
from lora_teach.pictures.photo import Photo, draw_attempts, draw_one
from lora_teach.plots import show
from tests.live.sweep import sweep

import numpy as np
import pytest
import torch


def test_the_sentence_gives_what_is_lost_and_stored():
    explorer = explore(Photo())
    image = centred_pagoda()
    for values, sentence in sweep(explorer):
        rank = values["rank"]
        drawn = torch.tensor(explorer.view.sum.get_array().data)
        assert torch.allclose(drawn, truncate(image, rank), atol=1e-4)
        lost = 100 * ((drawn - image).square().sum() / image.square().sum()).item()
        assert float(re.search(r"loses ([\d.]+) %", sentence)[1]) == pytest.approx(lost, abs=0.051)
        assert f"stores {192 * rank:,} numbers where the photo has 9,216" in sentence


def test_the_saving_ends_at_rank_48():
    explorer = explore(Photo())
    assert "saving" not in explorer.move(rank=47)
    assert "a saving no longer" in explorer.move(rank=48)
    assert "From rank 48 on" in explorer.view.static_figure().sentence


def test_the_last_outer_product_is_what_the_rank_before_lacks():
    explorer = explore(Photo())
    image = centred_pagoda()
    explorer.move(rank=5)
    alone = torch.tensor(explorer.view.last.get_array().data)
    assert torch.allclose(alone, truncate(image, 5) - truncate(image, 4), atol=1e-4)


def test_a_photo_that_is_not_square():
    view = Photo(torch.randn(20, 30, generator=torch.Generator().manual_seed(0)))
    assert "stores 100 numbers where the photo has 600" in view.move(rank=2)
    assert explore(view).limits() == {"rank": (1, 8, 20)}


def test_every_attempt_is_a_dot_and_the_floor_a_line():
    attempts = {"one kind": [0.4, 0.2, 0.3], "another": [0.9]}
    drawn = draw_attempts(attempts, 0.1)
    (axes,) = drawn.axes
    *kinds, floor = axes.lines
    assert [line.get_xdata().tolist() for line in kinds] == [pytest.approx([40, 20, 30]), pytest.approx([90])]
    assert set(floor.get_xdata()) == {10.0}
    assert [text.get_text() for text in axes.get_yticklabels()] == list(attempts)
    show(drawn, "They can all be drawn.")


def test_the_photo_alone_is_black_at_its_lowest_and_white_at_its_highest_value():
    A = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]).T  # (3, 2)
    (axes,) = draw_one(A).axes
    (image,) = axes.images
    assert np.array_equal(image.get_array(), A)
    assert image.get_clim() == (0.0, 2.0)
