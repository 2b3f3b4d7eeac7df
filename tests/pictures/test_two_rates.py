"""TwoRates: the map is the mean of the seeds, its diagonal is one rate for both."""

from statistics import mean

from lora_teach.measure.results import load_result
from lora_teach.pictures.two_rates import TwoRates, table

import pytest


def test_the_map_is_the_mean_of_the_seeds_rows_are_of_a():
    rates, shares = table()
    seeds = load_result("variants")["results"]["two_rates"]
    assert len(rates) == len(shares) == len(shares[0])
    assert shares[5][2] == pytest.approx(mean(seed[5][2] for seed in seeds))


def test_the_ring_is_where_the_sliders_are_and_the_sentence_tells_the_bests():
    view = TwoRates(10)
    rates, shares = table()
    sentence = view.move(rates[1], rates[4])
    assert view.ring.get_data() == ([4], [1]) and view.dot.get_data()[1] == [shares[1][4]]
    assert view.dot.get_data()[0] == [pytest.approx(rates[4] / rates[1], rel=0.05)]
    diagonal = max(shares[place][place] for place in range(len(rates)))
    best = max(map(max, shares))
    assert f"{diagonal:.1%}".replace("%", " %") in sentence and f"{best:.1%}".replace("%", " %") in sentence
    assert "Your guess for the ratio: 10." in sentence
