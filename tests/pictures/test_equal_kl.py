"""Equal KL and the verdicts on rewards: each number is the file's, each verdict follows by the rule."""

from statistics import mean

from lora_teach.live import explore
from lora_teach.measure.results import load_result
from lora_teach.measure.rewarding import where
from lora_teach.pictures.equal_kl import EqualKL
from lora_teach.pictures.equal_kl.claims import reward_claims
from lora_teach.pictures.equal_kl.numbers import at_equal_kl, at_level, share_of_full
from lora_teach.pictures.equal_kl.view import LEVELS, ROLES
from lora_teach.pictures.forgetting.paper_claims import verdict

import numpy as np
import pytest


def run(slope, rise=0.0):
    """A path whose success and English rise with KL."""
    kl = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0]
    return {
        "kl": kl, "success": [min(1.0, 0.1 + slope * one) for one in kl], "distinct": [1 - one / 20 for one in kl],
        "English": [2.0 + rise * one for one in kl], "language": [3.0 - 0.1 * one for one in kl],
    }  # fmt: skip


def made_up(rank_1=0.05):
    """Results in which rank 8 is as good as full fine-tuning."""
    slopes = {"LoRA r=1": rank_1, "LoRA r=8": 0.1, "full": 0.1}
    contenders = {
        name: {
            "lr": 3e-3 if name != "full" else 3e-4,
            "runs": {weight: [run(slope + 0.001 * seed, 0.05) for seed in range(3)] for weight in ("0.0", "0.1")},
        }
        for name, slope in slopes.items()
    }
    supervised = {name: [run(0.1, 0.1 + 0.001 * seed) for seed in range(3)] for name in ("LoRA r=1", "full")}
    base = {"success": 0.1, "distinct": 1.0, "kl": 0.0, "language": 3.0, "English": 2.0}
    return {"results": {"base": base, "contenders": contenders, "supervised": supervised}}


def test_all_are_compared_where_they_are_equally_far_from_the_base():
    spans = at_equal_kl(made_up()["results"], 3, "success")
    assert spans["full"] == pytest.approx((0.4, 0.403, 0.406)) and spans["LoRA r=1"].mean == pytest.approx(0.253)
    assert at_equal_kl(made_up()["results"], 20, "success") == {}
    assert share_of_full(made_up()["results"], "LoRA r=1", 4) == pytest.approx(
        [0.2 / 0.404, 0.204 / 0.404, 0.208 / 0.404]
    )


def test_a_run_that_never_gets_there_is_left_out():
    short = {"kl": [0.0, 1.0], "success": [0.1, 0.2]}
    assert at_level([short, run(0.1)], "kl", 2, "success") == pytest.approx([0.3])


def test_verdicts_on_made_up_runs_are_what_they_must_be():
    said = {claim.text: claim.verdict for claim in reward_claims(made_up())}
    assert said["LoRA r=1 gains at least 90% of full's success, 4 nats of KL from the base"] == "fails here"
    assert said["LoRA r=8 gains at least 90% of full's success, 4 nats of KL from the base"] == "holds here"
    assert said["LoRA r=1's best rate is at least 5 times full's"] == "holds here"
    assert said["full: real names cost more English than a reward, at a success of 30%"] == "holds here"
    assert said["full: real names lead further from the base than a reward, at a success of 30%"] == "undecided"
    assert said["full: at a success of 60% the base's English plus 0.1 nats is above its own"] == "fails here"
    assert (
        said["full, penalty: the reward teaches Finnish: the base's loss on real names is above its own"]
        == "holds here"
    )
    assert said["full: with the penalty more names are different at the end"] == "undecided"


def test_the_claims_of_the_file_have_a_seed_each_and_follow_from_it():
    result = load_result("rewards")
    claims, seeds = reward_claims(), len(result["settings"]["seeds"])
    assert len({claim.text for claim in claims}) == len(claims) >= 15
    for claim in claims:
        assert claim.verdict == verdict(claim.above, claim.below)
        assert max(len(claim.above), len(claim.below)) == (1 if "rate" in claim.text else seeds), claim.text


def test_rates_were_chosen_where_success_is_highest_at_the_matched_divergence():
    result = load_result("rewards")
    assert result["settings"]["rate_seed"] not in result["settings"]["seeds"]
    for entry in result["results"]["contenders"].values():
        assert entry["tried"][str(entry["lr"])] == max(entry["tried"].values()) > 0
        assert {run["lr"] for runs in entry["runs"].values() for run in runs} == {entry["lr"]}


@pytest.mark.parametrize("KL", LEVELS)
def test_the_sentence_and_the_dots_are_the_means_at_this_divergence(KL):
    explorer, results = explore(EqualKL(40)), load_result("rewards")["results"]
    sentence = explorer.move(KL=KL)
    for name in ROLES:
        values = [where(one, "kl", KL, "success") for one in results["contenders"][name]["runs"]["0.1"]]
        dot = explorer.view.dots["success", name]
        if None in values:
            assert f"{name} " not in sentence and not len(dot.get_xdata())
        else:
            assert f"{name} {mean(values):.0%} ({min(values):.0%} to {max(values):.0%})" in sentence
            assert np.ravel(dot.get_data()) == pytest.approx([KL, mean(values)])
    assert ("Your guess for rank 1: 40 %" in sentence) == (KL == 4)
