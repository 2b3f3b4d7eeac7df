"""Counts in full: the sentence's numbers are those of adapters that are counted another way."""

import re

from lora_teach import LoRAModel
from lora_teach.bases import NameGPT
from lora_teach.pictures.architectures.view import CHOICES, CountsInFull
from tests.live.sweep import sweep

NAME_GPT = {"q v": ["q_proj", "v_proj"], "attention": ["q_proj", "k_proj", "v_proj", "o_proj"], "all linear": None}
GPT_3 = {"q v": 2 * 2 * 12_288, "attention": 4 * 2 * 12_288, "all linear": 4 * 2 * 12_288 + 2 * 5 * 12_288}


def percent(share):
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def test_the_sentence_says_what_real_adapters_train():
    explorer = CountsInFull.example()
    assert list(explorer.limits()["layers"]) == CHOICES == list(NAME_GPT)
    for values, sentence in sweep(explorer):
        rank, which = values["rank"], values["layers"]
        small = LoRAModel(NameGPT(), rank=rank, target_modules=NAME_GPT[which]).count()[0]
        large = 96 * rank * GPT_3[which]
        assert f": {percent(small / 342_720)} of NameGPT's" in sentence
        assert f"and {percent(large / 174_604_283_904)} of GPT-3 175B's" in sentence
        assert f"the adapter {large / small:,.0f} times" in sentence
        assert "The model is 509,466 times as large" in sentence
        told, unit = re.search(r"([\d.]+) (MB|GB) on disk", sentence).groups()
        assert abs(float(told) * {"MB": 1e6, "GB": 1e9}[unit] / (4 * large) - 1) < 0.01
        assert [explorer.view.drawn.dots.get_ydata()[at] for at in (0, -1)] == [small, large]


def test_the_twin_says_the_shares_at_rank_8():
    view = CountsInFull()
    said = view.twin().sentence
    assert said.startswith("14 models, NameGPT at the left") and "2.7 % of the smallest and 0.022 % of" in said
    assert "Rank 8, q v: 2.7 % of NameGPT's numbers train, and 0.022 %" in view(8, "q v")


def test_the_guess_is_drawn():
    marks = {line.get_marker() for line in CountsInFull(guess=1e9).picture.figure.axes[0].lines}
    assert "D" in marks
