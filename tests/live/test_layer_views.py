"""Counts' sentence, compared with numbers that are computed another way."""

import re

from lora_teach.pictures.counts.view import LAYER, Counts
from tests.live.sweep import sweep


def test_counts_says_what_an_adapter_of_that_rank_holds():
    from lora_teach import LoRAModel
    from lora_teach.bases import NameGPT

    for values, sentence in sweep(Counts.example()):
        told = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d|\d", sentence)]
        layer = LoRAModel(NameGPT(), target_modules=[LAYER], rank=values["rank"]).count()[0]
        assert layer in told and 9_216 in told
        if values["rank"] <= 29:  # above that rank the head-sized layers of a model would be left out
            assert LoRAModel(NameGPT(), rank=values["rank"]).count()[0] in told
