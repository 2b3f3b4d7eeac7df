"""The verdicts follow from the files by one rule."""

from statistics import mean

from lora_teach.measure.results import load_result
from lora_teach.pictures.forgetting.paper_claims import (
    Claim,
    as_markdown,
    chance_of_overlap,
    forgetting_claims,
    judged,
    learned_claims,
    verdict,
)

import pytest


@pytest.mark.parametrize(
    ("above", "below", "word"),
    [
        ([2, 3], [0, 1], "holds here"),
        ([0, 1], [2, 3], "fails here"),
        ([0, 2], [1, 3], "undecided"),
        ([1, 3], [2], "undecided"),
        ([1], [1], "undecided"),
        ([2], [1], "holds here"),
    ],
)
def test_bands_that_overlap_or_touch_decide_nothing(above, below, word):
    assert verdict(above, below) == word
    opposite = {"holds here": "fails here", "fails here": "holds here", "undecided": "undecided"}
    assert verdict(below, above) == opposite[word]


@pytest.mark.parametrize("language", ["Zulu", "Icelandic"])
def test_every_claim_has_a_seed_each_on_the_side_that_is_measured(language):
    claims = learned_claims(language) + forgetting_claims(language)
    assert len({claim.text for claim in claims}) == len(claims) >= 14
    for claim in claims:
        assert claim.language == language
        assert max(len(claim.above), len(claim.below)) >= 2, claim.text
        plain = verdict(claim.above, claim.below)
        assert claim.verdict == plain or (claim.verdict, plain) == ("holds at random too", "holds here")
        if claim.random and claim.verdict == "holds here":
            assert verdict(claim.random, claim.below) != "holds here", claim.text


@pytest.mark.parametrize(
    ("above", "below", "random", "random_below", "word"),
    [
        ([3, 4], [1], [5, 6], None, "holds at random too"),
        ([3, 4], [1], [0, 6], None, "holds here"),  # of random updates it is undecided
        ([3, 4], [1], (), None, "holds here"),  # no control
        ([3, 4], [1, 2], [5], [6], "holds here"),  # against random updates' own other side
        ([0], [1], [5], None, "fails here"),
        ([0, 2], [1], [5], None, "undecided"),
    ],
)
def test_what_a_random_update_shows_too_says_nothing_about_learning(above, below, random, random_below, word):
    assert judged(above, below, random, random_below) == word


def test_the_control_has_the_numbers_of_the_random_updates():
    claims = {claim.text: claim for claim in learned_claims("Zulu")}
    drawn = {name: entry["runs"] for name, entry in load_result("control")["results"]["Zulu"].items()}
    counts = tuple(sum(run["intruders"]["0.5"]) for run in drawn["LoRA r=8"])
    assert (
        claims["LoRA has intruder dimensions (r = 8)"].random
        == counts
        == claims["beside it, r = 8 has more intruders"].below
    )
    english = tuple(run["loss"][1] for run in drawn["LoRA r=8"])
    assert claims["… it forgets more English"].below == pytest.approx(english, abs=1e-3)
    fewer = claims["a random update takes more directions than r = 8"]
    assert fewer.above == pytest.approx([mean(run["directions"]) for run in drawn["LoRA r=8"]])
    assert claims["LoRA's ΔW at r = 8 amplifies: factor above 1"].verdict == "holds at random too"


def test_the_sides_are_those_of_the_file():
    claims = {claim.text: claim for claim in learned_claims("Zulu")}
    contenders = load_result("learned")["results"]["Zulu"]["contenders"]
    rank = claims["full's ΔW has over 10 times LoRA's rank, r = 8"]
    assert rank.above == pytest.approx([mean(run["directions"]) for run in contenders["full"]["runs"]])
    assert rank.below == (80,) and rank.numbers == "13 to 14 against 80"
    more = claims["LoRA r = 1 has more of them than full"]
    assert more.above == tuple(sum(run["intruders"]["0.5"]) for run in contenders["LoRA r=1"]["runs"])
    back = claims["shrinking them by a quarter gives English back"]
    for regained, run in zip(back.above, contenders["LoRA r=8"]["runs"], strict=True):
        assert regained == pytest.approx(run["loss"][1] - run["intruders shrunk"][3][1], abs=2e-4)
    dial = claims["… more than turning down all of ΔW for as much loss"]
    for gained, run in zip(dial.above, contenders["LoRA r=8"]["runs"], strict=True):
        assert gained == pytest.approx(run["matched"]["loss"][1] - run["intruders shrunk"][3][1], abs=2e-4)
        assert run["matched"]["loss"][0] < run["intruders shrunk"][3][0] + 2e-3  # for no more loss on Zulu, to a hair


def test_forgetting_compares_checkpoints_of_the_chosen_rates():
    entry = load_result("forgetting")["results"]["Zulu"]
    learns, forgets, _ = forgetting_claims("Zulu", ranks=[1])
    runs = {
        name: sorted(run["loss"] for run in entry["runs"][name] if run["lr"] == entry["lr"][name])
        for name in ("LoRA r=1", "full")
    }
    assert sorted(learns.above) == pytest.approx([new for new, _ in runs["LoRA r=1"]])
    assert sorted(forgets.above) == pytest.approx(sorted(old for _, old in runs["full"]))


def test_chance_is_about_the_share_of_the_directions_that_are_looked_at():
    low, high = chance_of_overlap([96] * 15 + [384] * 3, 8)
    assert low < (15 * 8 / 96 + 3 * 8 / 384) / 18 < high < 0.1


def test_the_table_has_a_row_a_claim_and_a_column_a_language():
    claims = [Claim("a", "b", language, (1.0, 2.0), (0.5,), "holds here") for language in ("Zulu", "Icelandic")]
    table = as_markdown(*([claim] for claim in claims)).splitlines()
    assert table[0] == "| claim | source | Zulu | Icelandic |"
    assert table[2] == "| a | b | **holds here**: 1 to 2 against 0.50 | **holds here**: 1 to 2 against 0.50 |"
    assert as_markdown([claims[0]], [claims[1]._replace(text="c")]).endswith("against 0.50 | – |")
    assert claims[0]._replace(above=(13.4, 14.2), below=(3,)).numbers == "13 to 14 against 3"
