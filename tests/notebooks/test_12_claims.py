"""What notebook 12 says of its pictures and of the results, without a cell that shows it; its solutions solve."""

from statistics import mean

from lora_teach.datasets import digits
from lora_teach.exercises import check_dora_forward, check_nf4
from lora_teach.measure.results import load_result
from lora_teach.measure.separate_rates import EPS, train_separate_rates
from lora_teach.measure.variants import LARGE_ALPHA, RANDOM_START, RATIO, verdict
from lora_teach.pictures.four_bits import FourBits
from lora_teach.pictures.magnitudes.numbers import slopes
from lora_teach.pictures.own_rate import compare, digit_entries, smollm2_entries, variants
from lora_teach.pictures.own_rate.numbers import at
from lora_teach.pictures.stability.numbers import followed
from lora_teach.pictures.two_rates import best_by_ratio, table
from tests.notebooks.reading import DETAILS, ROOT, Lesson

import pytest
import torch


@pytest.fixture(scope="module")
def results():
    return load_result("variants")["results"]


@pytest.fixture(scope="module")
def turned():
    return digit_entries("turned by 90°")[0]


@pytest.fixture(scope="module")
def inverted():
    return digit_entries("inverted")[0]


@pytest.fixture(scope="module")
def odd():
    return digit_entries("odd to even")[0]


@pytest.fixture(scope="module")
def zulu(results):
    return results["names"]["Zulu"]


def own(entry):
    return at(entry, entry["lr"])


def test_two_bits_cost_a_tenth_of_a_nat_and_four_nothing_that_can_be_measured():
    view = FourBits()
    costs = {bits: view.losses(bits, 64) for bits in (2, 3, 4)}
    assert f"{costs[2]['NormalFloat']:.1f}" == "2.2" and f"{view.before:.2f}" == "2.11"
    assert costs[4]["NormalFloat"] - view.before < 0.003 and costs[3]["NormalFloat"] - view.before < 0.01
    for bits, cost in costs.items():
        assert abs(cost["noise"] - cost["NormalFloat"]) < 0.03, bits
    assert all(costs[bits]["even"] > costs[bits]["NormalFloat"] + 0.01 for bits in (2, 3))
    ours, even, kept = view.errors(4, 64)
    assert 0.08 < ours.norm() / view.weight.norm() < 0.11 and ours.norm() < even.norm() and f"{kept:.2f}" == "4.13"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_higher_rate_does_under_alpha_r_what_a_larger_factor_does(seed):
    def last(rank, rule, lr):
        return followed(digits.rotated(90), rank, rule, lr, seed=seed).losses[-1]

    at_one_rate = [last(rank, "alpha/r", 0.001) for rank in (1, 8, 64)]
    assert max(at_one_rate) < 1.25 * min(at_one_rate)
    ahead = last(64, "alpha/sqrt(r)", 0.001)
    assert ahead < 0.5 * min(at_one_rate)
    assert max(last(rank, "alpha/r", 0.01) for rank in (8, 64)) < ahead


def test_from_a_tenth_to_a_hundred_all_ratios_lie_within_two_points():
    rates, shares = table()
    bests = {apart: best for apart, (best, _) in best_by_ratio(shares).items()}
    assert rates[2] / rates[0] == pytest.approx(10) and all(0.92 < bests[apart] < 0.95 for apart in range(-2, 5))
    assert max(bests.values()) - bests[0] < 0.02
    apart = {apart: a for apart, (_, a) in best_by_ratio(shares).items()}
    assert apart[2] < apart[0] and apart[3] < apart[0]  # LoRA+ crosses the band at a lower rate of A


def test_lora_plus_is_lora_with_so_many_times_the_alpha():
    split = digits.rotated(90)
    plus = train_separate_rates(split, lr_A=0.001, lr_B=RATIO * 0.001, eps_B=EPS)
    large = train_separate_rates(split, factor=RATIO, lr_A=0.001, lr_B=0.001, eps_A=RATIO * EPS, eps_B=RATIO * EPS)
    assert max(abs(a - b) for a, b in zip(plus.loss, large.loss, strict=True)) < 0.02


def test_only_dora_takes_turning_and_stretching_apart(zulu):
    last = list(zulu["LoRA"]["magnitudes"][0])[-1]
    found = {name: slopes(zulu[name]["magnitudes"], last) for name in ("full", "LoRA", "DoRA")}
    assert min(found["full"][0] + found["LoRA"][0]) > 0.75 > 0.6 > max(found["DoRA"][0])
    assert [f"{found[name][1]:.2f}" for name in found] == ["0.94", "0.87", "0.41"]
    for name in found:
        assert slopes(zulu[name]["magnitudes"], last, "random")[1] > 0.98


def test_pissas_best_lies_lower_and_random_directions_do_most_of_it(turned):
    assert turned["LoRA"]["lr"] == 0.018 and turned["PiSSA"]["lr"] == 0.01
    shared = {name: mean(at(turned[name], 0.001)) for name in ("LoRA", "PiSSA", RANDOM_START)}
    assert (f"{shared['PiSSA']:.0%}", f"{shared['LoRA']:.0%}") == ("79%", "41%")
    assert shared["PiSSA"] > shared[RANDOM_START] > shared["LoRA"] + 0.5 * (shared["PiSSA"] - shared["LoRA"])
    assert (
        compare(turned, "PiSSA").verdict == "ahead"
        and 0.01 < mean(own(turned["PiSSA"])) - mean(own(turned["LoRA"])) < 0.03
    )
    assert verdict(own(turned["PiSSA"]), own(turned[RANDOM_START])) == "level"


def test_on_turned_digits_the_claims_hold_at_one_rate_and_only_pissas_at_its_own(turned):
    names = ("QLoRA", "rsLoRA r=64", "LoRA+", "DoRA", "PiSSA")
    shared = {name: compare(turned, name, 0.001).verdict for name in names}
    assert [name for name in names if shared[name] == "ahead"] == ["rsLoRA r=64", "LoRA+", "PiSSA"]
    assert {name: compare(turned, name).verdict for name in names} == dict.fromkeys(names, "level") | {"PiSSA": "ahead"}
    assert min(mean(at(turned[name], 0.001)) for name in ("rsLoRA r=64", "LoRA+", "PiSSA")) > 0.75


def test_on_inverted_digits_a_large_alpha_beats_lora_plus_and_pissa_beats_all(inverted):
    assert compare(inverted, "LoRA+").verdict == compare(inverted, "PiSSA").verdict == "ahead"
    assert compare(inverted, "DoRA").verdict == "level"
    assert verdict(own(inverted[LARGE_ALPHA]), own(inverted["full"])) == "level"
    assert verdict(own(inverted[LARGE_ALPHA]), own(inverted["LoRA+"])) == "ahead"
    for other in (LARGE_ALPHA, "full", RANDOM_START):
        assert verdict(own(inverted["PiSSA"]), own(inverted[other])) == "ahead"
    assert f"{mean(own(inverted[RANDOM_START])):.0%}" == "85%"


def test_from_odd_to_even_pissa_is_ahead_at_both_rates_and_a_large_alpha_reads_all(odd):
    assert compare(odd, "PiSSA", 0.001).verdict == compare(odd, "PiSSA").verdict == "ahead"
    assert own(odd[LARGE_ALPHA]) == [1, 1, 1]
    assert compare(odd, "DoRA", 0.001).verdict == "level" and compare(odd, "DoRA").verdict == "behind"


def test_at_its_own_rate_pissa_is_ahead_on_three_tasks_and_dora_on_one(turned, inverted, odd, zulu):
    found = {
        name: [compare(entries, name).verdict for entries in (turned, inverted, odd)]
        + [compare(zulu, name, higher=False).verdict]
        for name in ("PiSSA", "DoRA")
    }
    assert found["PiSSA"].count("ahead") == 3 and found["DoRA"].count("ahead") == 1


def test_on_names_dora_alone_is_ahead_at_its_own_rate(zulu):
    names = ("QLoRA", "rsLoRA r=64", "LoRA+", "DoRA", "PiSSA")
    shared = [compare(zulu, name, 0.001, higher=False).verdict for name in names]
    assert shared == ["level", "ahead", "ahead", "level", "ahead"]
    assert [compare(zulu, name, higher=False).verdict for name in names] == ["level"] * 3 + ["ahead", "level"]
    assert 0.025 < mean(own(zulu["LoRA"])) - mean(own(zulu["DoRA"])) < 0.04


def test_a_random_update_reads_what_the_base_reads(turned, inverted, odd, zulu):
    for entries in (turned, inverted, odd):
        assert max(mean(entry["random"]) for entry in entries.values() if "random" in entry) < 0.15
    for name, entry in zulu.items():
        if name != "base" and "random" in entry:
            assert min(entry["random"]) > zulu["base"] - 0.2 > max(own(entry)) + 1


def test_the_folded_solutions_solve_their_exercises():
    lesson = Lesson(ROOT / "notebooks" / "12_variants.ipynb")
    space = {"torch": torch}
    for cell in lesson.cells:
        for block in DETAILS.findall(cell.source) if cell.cell_type == "markdown" else []:
            exec("".join(part.split("```")[0] for part in str(block).split("```python")[1:]), space)
    assert check_nf4(space["there"], space["back"]).passed
    assert check_dora_forward(space["dora_forward"]).passed


def test_on_smollm2_all_are_level_in_the_loss_and_some_behind_in_whole_answers():
    entries = smollm2_entries()
    losses = {name: {"lr": entry["lr"], "test": entry["validation"]} for name, entry in entries.items()}
    own = {name: compare(entries, name).verdict for name in variants(entries)}
    assert {compare(losses, name, higher=False).verdict for name in own} == {"level"}
    assert [name for name in own if own[name] == "behind"] == ["QLoRA", "LoRA+"] and "ahead" not in own.values()
    assert entries["LoRA"]["lr"] == 0.001 and compare(entries, "PiSSA", 0.001).verdict == "behind"


def test_on_smollm2_four_bits_cost_something_before_any_training():
    whole, packed = load_result("answer_sheet"), load_result("quantized")
    runs = {seed: run["sheets"]["60"]["marks"].count("1111") for seed, run in whole["results"]["runs"].items()}
    four = [packed["results"][f"SmolLM2, {seed}"]["sheets"]["60"]["marks"].count("1111") for seed in runs]
    assert verdict(four, list(runs.values())) == "behind" and packed["settings"]["SmolLM2"]["lr"] == 0.001
    plain = sum(row[1] == "1" for row in whole["results"]["prompts"]["four examples"]["marks"])
    where = {kind: packed["results"][f"SmolLM2, untrained, {kind}"]["where"] for kind in packed["settings"]["kinds"]}
    assert where["NF4"] < plain / 1.5 and plain - where["NF4 in the MLPs"] < 0.5 * (plain - where["NF4 in attention"])
    assert packed["results"]["values in 32 of SmolLM2's weights"] == 16  # they were in four bits as they came
