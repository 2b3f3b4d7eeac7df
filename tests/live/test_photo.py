"""The photo at rank r: what it says and shows is what the numbers are."""

import re

import pytest
import torch

from lora_teach.measure import truncate
from lora_teach.pictures.keyhole.view import pagoda
from lora_teach.pictures.photo.view import Photo
from tests.live.sweep import sweep


def test_the_sentence_gives_what_is_lost_and_stored():
    explorer = Photo.example()
    image = pagoda()
    for values, sentence in sweep(explorer):
        rank = values["rank"]
        drawn = torch.tensor(explorer.view.drawn.sum.get_array().data)
        assert torch.allclose(drawn, truncate(image, rank), atol=1e-4)
        lost = 100 * ((drawn - image).square().sum() / image.square().sum()).item()
        assert float(re.search(r"loses ([\d.]+) %", sentence)[1]) == pytest.approx(lost, abs=0.051)
        assert f"stores {192 * rank:,} numbers where the photo has 9,216" in sentence


def test_the_saving_ends_at_rank_48():
    explorer = Photo.example()
    assert "saving" not in explorer.move(rank=47)
    assert "a saving no longer" in explorer.move(rank=48)
    assert "From rank 48 on" in explorer.view.twin().sentence


def test_the_last_outer_product_is_what_the_rank_before_lacks():
    explorer = Photo.example()
    image = pagoda()
    explorer.move(rank=5)
    alone = torch.tensor(explorer.view.drawn.last.get_array().data)
    assert torch.allclose(alone, truncate(image, 5) - truncate(image, 4), atol=1e-4)


def test_a_photo_that_is_not_square():
    view = Photo(torch.randn(20, 30, generator=torch.Generator().manual_seed(0)))
    assert "stores 100 numbers where the photo has 600" in view(rank=2)
