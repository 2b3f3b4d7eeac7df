"""The still pictures of notebook 01 show the numbers they were given."""

import numpy as np
import pytest

from lora_teach.pictures.icons.drawing import draw_outer_products
from lora_teach.pictures.photo.drawing import draw_attempts, draw_one
from lora_teach.plots import show

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
    (axes,) = draw_one(A).axes
    (image,) = axes.images
    assert np.array_equal(image.get_array(), A)
    assert image.get_clim() == (0.0, 2.0)
