"""The pagoda as a matrix."""

from lora_teach.datasets import photo

import pytest
import torch


def test_the_pagoda_is_a_grey_square_between_black_and_white():
    picture = photo.pagoda()
    assert picture.shape == (96, 96)
    assert picture.dtype == torch.float32
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert picture.std() > 0.2  # it has dark and light, it is not a blank sheet
    assert torch.equal(picture, photo.pagoda())


def test_the_pagoda_is_nearly_but_not_low_rank():
    values = torch.linalg.svdvals(photo.pagoda() - photo.pagoda().mean())
    energy = values.square().cumsum(0) / values.square().sum()
    assert energy[15] > 0.95  # 16 of 96 show nearly all
    assert energy[1] < 0.9  # 2 don't


@pytest.mark.parametrize("size", [1, 0, -3, 331])
def test_an_impossible_size_is_refused(size):
    with pytest.raises(ValueError, match=rf"size={size}.*2\.\.330"):
        photo.pagoda(size)


def test_other_sizes_show_the_same_picture():
    small = photo.pagoda(24)
    shrunk = torch.nn.functional.avg_pool2d(photo.pagoda(96)[None], 4)[0]
    assert (small - shrunk).abs().mean() < 0.03
