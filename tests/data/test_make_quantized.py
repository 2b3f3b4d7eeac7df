"""What four bits cost: the command, on a small scale, and what its file says."""

import json
from statistics import mean

from data.make_quantized import SETTINGS, error_entry, merged_entry, most_values, names_entry
from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.bases.quantized import bits_per_parameter, quantize, quantize_
from lora_teach.datasets import names, shipped
from lora_teach.measure.results import load_result
from tests.toy import numbers

import pytest

OPTIONS = {"rank": 2, "learning_rates": [1e-5, 1e-2], "steps": 8, "check_every": 4, "batch_size": 16}


def test_an_error_is_the_share_of_the_weights_that_is_lost():
    weights = [numbers(64, 64), numbers(8, 64)]
    entry = error_entry(weights, [2, 4], [64])
    lost = sum((quantize(weight).dequantize() - weight).square().sum() for weight in weights)
    share = lost / sum(weight.square().sum() for weight in weights)
    assert entry["4 bits, 64"]["error"] == pytest.approx(share.sqrt().item(), rel=1e-5)
    assert entry["4 bits, 64"]["bits_single"] == 4.5 and 4.125 < entry["4 bits, 64"]["bits"] < 4.2
    assert entry["2 bits, 64"]["error"] > entry["4 bits, 64"]["error"]


def test_four_bits_leave_sixteen_values_in_a_block():
    weights = [quantize(numbers(64, 64), bits, 32).dequantize() for bits in (3, 4)]
    assert most_values(weights[:1], 32) <= 8 < most_values(weights, 32) <= 16 < most_values([numbers(64, 64)], 32)


def test_adapters_over_four_bits_are_compared_and_merged_in_three_ways():
    plain, base = load_name_gpt(), quantize_(load_name_gpt())
    entry, models = names_entry(base, [0, 1], "Zulu", **OPTIONS)
    assert entry["lr"] == 1e-2 and entry["mean"] == pytest.approx(mean(entry["test"])) and entry["spread"] > 0
    assert entry["English"] == evaluate(base, names.load("English").test)
    merged = merged_entry(models, plain, "Zulu")
    assert merged["over NF4"] == entry["test"]
    assert merged["dequantised"] == pytest.approx(entry["test"], abs=1e-5)
    for way in ("quantised again", "original"):
        assert all(a != pytest.approx(b, abs=1e-5) for a, b in zip(merged[way], entry["test"], strict=True))


def test_the_file_is_what_the_command_makes():
    result = load_result("quantized")
    assert result["settings"] == SETTINGS
    found = result["results"]
    kinds = {kind: found["names"][kind] for kind in ("float32", "NF4")}
    for entry in kinds.values():
        assert len(entry["test"]) == len(SETTINGS["seeds"])
        assert entry["tried"][str(entry["lr"])] == min(entry["tried"].values())
    assert found["names"]["bits"]["linear layers"] == pytest.approx(
        bits_per_parameter(quantize_(load_name_gpt())), abs=1e-4
    )
    assert found["names"]["merged"]["over NF4"] == kinds["NF4"]["test"]


def test_the_file_says_what_the_course_says():
    found = load_result("quantized")["results"]
    plain, packed = found["names"]["float32"], found["names"]["NF4"]
    assert abs(packed["mean"] - plain["mean"]) < 2 * max(plain["spread"], packed["spread"])
    assert packed["English"] - plain["English"] < 0.01
    ways = found["names"]["merged"]
    assert ways["dequantised"] == pytest.approx(ways["over NF4"], abs=2e-4)
    for weights in ("NameGPT", "SmolLM2's block 15"):
        error = {key: entry["error"] for key, entry in found[f"error of {weights}"].items()}
        assert error["4 bits, 32"] < error["4 bits, 64"] < error["4 bits, 1024"] < error["3 bits, 64"]


def test_over_four_bits_notebook_07s_task_is_fitted_as_well_and_answered_worse():
    found = load_result("quantized")["results"]
    sheets = json.loads((shipped.DATA / "answer_sheet.json").read_text(encoding="utf-8"))["results"]["runs"]
    right = {"NF4": [], "float32": []}
    for seed in SETTINGS["seeds"]:
        packed, plain = found[f"SmolLM2, seed {seed}"], sheets[f"seed {seed}"]
        assert packed["bits"] <= 4.6 and len(packed["loss"]) == len(plain["loss"]) == max(SETTINGS["SmolLM2"]["steps"])
        assert mean(packed["loss"][10:20]) < 1.25 * mean(plain["loss"][10:20])  # on the training sentences
        assert all(row[0] == "1" for row in packed["sheets"]["60"]["marks"])  # the format is learned
        for kind, run in (("NF4", packed), ("float32", plain)):
            right[kind].append(sum(row == "1111" for row in run["sheets"]["60"]["marks"]))
    assert max(right["NF4"]) < min(right["float32"])  # unseen names and cities are copied less well


def test_with_attention_in_float32_more_cities_are_copied_and_as_few_answers_right():
    found = load_result("quantized")["results"]

    def counts(kind, mark):
        runs = (found[f"SmolLM2, {kind}seed {seed}"]["sheets"]["20"]["marks"] for seed in SETTINGS["seeds"])
        return [sum(row.startswith(mark) for row in marks) for marks in runs]

    cities = [counts(kind, "11") for kind in ("", "NF4 in the MLPs, ")]
    assert min(cities[1]) > max(cities[0])
    right = [counts(kind, "1111") for kind in ("", "NF4 in the MLPs, ")]
    assert mean(right[1]) < mean(right[0]) + 3
