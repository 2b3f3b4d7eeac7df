"""The digits: upright, turned, inverted, always in the same split."""

from lora_teach.datasets import digits

import pytest
import torch


@pytest.mark.parametrize("make", [digits.upright, lambda: digits.rotated(30), digits.inverted])
def test_shapes_and_ranges(make):
    made = make()
    assert [len(x) for x, _ in made] == [1197, 300, 300]
    for x, y in made:
        assert x.shape == (len(y), 64)
        assert x.dtype == torch.float32
        assert y.dtype == torch.int64
        assert x.min() >= 0
        assert x.max() <= 1
        assert set(y.tolist()) == set(range(10))


def test_no_picture_is_in_two_splits():
    seen = [tuple(row) for x, _ in digits.upright() for row in x.tolist()]
    assert len(seen) == len(set(seen)) == 1797


def test_all_kinds_share_one_split():
    upright, turned, inverted = digits.upright(), digits.rotated(90), digits.inverted()
    for split in ("train", "validation", "test"):
        x, y = getattr(upright, split)
        assert torch.equal(y, getattr(turned, split)[1])
        assert torch.equal(1 - x, getattr(inverted, split)[0])
        quarter = torch.rot90(x.reshape(-1, 8, 8), dims=(1, 2)).flatten(1)  # anticlockwise, exact
        assert torch.allclose(getattr(turned, split)[0], quarter, atol=1e-5)


def test_turning_by_nothing_changes_nothing_and_back_again_nearly():
    x, _ = digits.upright().test
    assert torch.allclose(digits.rotated(0).test[0], x, atol=1e-6)
    assert torch.allclose(digits.rotated(360).test[0], x, atol=1e-5)
    assert (digits.rotated(45).test[0] - x).abs().mean() > 0.1


def test_turning_all_digits_at_once_equals_turning_one():
    from scipy.ndimage import rotate

    picture = digits.upright().test[0][7].reshape(8, 8).numpy()
    alone = torch.from_numpy(rotate(picture, 25, reshape=False, order=3)).clamp(0, 1)
    assert torch.allclose(digits.rotated(25).test[0][7].reshape(8, 8), alone, atol=1e-5)


def test_changing_what_was_returned_does_not_change_the_next_one():
    digits.upright().test[0].zero_()
    assert digits.upright().test[0].sum() > 0
