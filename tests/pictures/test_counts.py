"""Counts: the sentence, compared with numbers that are computed another way."""

import re

from lora_teach import LoRAModel
from lora_teach.bases import NameGPT
from lora_teach.live import explore
from lora_teach.pictures.counts import Counts
from lora_teach.pictures.counts.view import LAYER
from tests.live.sweep import sweep

import pytest


def test_the_sentence_says_what_an_adapter_of_that_rank_holds():
    for values, sentence in sweep(explore(Counts())):
        told = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d|\d", sentence)]
        layer = LoRAModel(NameGPT(), target_modules=[LAYER], rank=values["rank"]).count()[0]
        assert layer in told and 9_216 in told
        if values["rank"] <= 29:  # above that rank the head-sized layers of a model would be left out
            assert LoRAModel(NameGPT(), rank=values["rank"]).count()[0] in told


def test_a_and_b_are_to_scale():
    view = Counts(guess=14)
    view.move(8)
    assert [(strip.get_width(), strip.get_height()) for strip in view.strips] == [(8, 96), (96, 8)]
    assert [list(line.get_data()) for line in view.dots[0].axes.lines if line.get_marker() == "D"] == [[[14], [9216]]]


@pytest.mark.parametrize(("guess", "error"), [("14", TypeError), (float("nan"), ValueError), (65, ValueError)])
def test_another_guess_is_refused_with_a_cure(guess, error):
    with pytest.raises(error, match="Give a rank from 1 to 64, or None"):
        Counts(guess)
