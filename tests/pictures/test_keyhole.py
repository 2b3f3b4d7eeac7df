"""Keyhole says and shows what the numbers are."""

import re

from lora_teach.datasets.photo import centred_pagoda
from lora_teach.live import explore
from lora_teach.pictures.keyhole.view import RANKS, STEPS, Keyhole
from tests.live.sweep import sweep

import pytest
import torch


@pytest.fixture(scope="module")
def explorer():
    return explore(Keyhole(guess=30))


def test_the_sentence_gives_loss_floor_and_counts(explorer):
    target = centred_pagoda()
    sigma = torch.linalg.svdvals(target)
    for values, sentence in sweep(explorer):
        rank, step = values["rank"], values["step"]
        drawn = torch.tensor(explorer.view.product.get_array().data)  # A·B as it is painted
        loss = 100 * (drawn - target).square().sum() / target.square().sum()
        floor = 100 * sigma[rank:].square().sum() / sigma.square().sum()
        said = [float(number) for number in re.findall(r"([\d.]+) %", sentence)]
        assert said == pytest.approx([loss.item(), floor.item()], abs=0.051)
        assert f"A and B hold {2 * 96 * rank:,} numbers, the hidden matrix 9,216" in sentence
        assert f"Rank {rank}, after step {step}" in sentence


def test_before_the_first_step_the_sheet_is_grey(explorer):
    explorer.move(rank=4, step=0)
    assert not explorer.view.product.get_array().any()
    assert "100.0 %" in explorer.sentence


def test_the_guess_stands_at_the_end_of_the_run_until_there_is_none(explorer):
    def diamonds(view):
        axes = view.whole.axes
        return [line.get_xydata().tolist() for line in axes.lines if line.get_label() == "your guess for rank 2"]

    assert diamonds(explorer.view) == [[[STEPS, 30]]]
    assert diamonds(Keyhole()) == []


def test_the_small_multiples_end_within_a_percentage_point_of_the_floor():
    view = Keyhole()
    for rank in RANKS:
        _, loss, _ = view.run(rank)
        assert 0 <= loss[-1] - view.floors[rank] < 1
    assert "nowhere more than 1 percentage point" in view.static_figure().sentence


def test_the_photo_is_the_pagoda_around_its_mean():
    assert centred_pagoda().mean().abs() < 1e-6
    assert centred_pagoda().max() < 1 and centred_pagoda().min() > -1


@pytest.mark.parametrize("guess", [-1, 101, float("nan"), "30"])
def test_a_guess_that_is_no_percentage_is_refused(guess):
    with pytest.raises((TypeError, ValueError), match="Give a number of % from 0 to 100"):
        Keyhole(guess=guess)


def test_labels_of_the_ranks_keep_clear_of_each_other():
    made = Keyhole()._draw_ranks()
    made.canvas.draw()
    labels = [text for axes in made.axes for text in axes.texts if text.get_text().startswith("rank")]
    boxes = sorted((text.get_window_extent() for text in labels), key=lambda box: box.y0)
    assert len(boxes) == 5 and all(low.y1 <= high.y0 + 1 for low, high in zip(boxes, boxes[1:], strict=False))
