"""OwnRate: a variant and its plain LoRA, as the file has them, and the table that says what each costs."""

from statistics import mean

from lora_teach.measure.results import load_result
from lora_teach.measure.variants import RANDOM_START
from lora_teach.pictures.own_rate import (
    OwnRate,
    as_markdown,
    code_lines,
    compare,
    digit_entries,
    smollm2_entries,
    told,
    variants,
)
from lora_teach.pictures.own_rate.numbers import Compared, at, line_of

import pytest

SHARED = load_result("variants")["settings"]["shared_rate"]


@pytest.fixture(scope="module")
def view():
    return OwnRate(start="PiSSA", guess=0.02)


def drawn(lines):
    return {key: list(zip(*map(list, line.get_data()), strict=True)) for key, line in lines.items()}


def test_lines_are_validation_and_marks_are_test_digits(view):
    entries = view.entries
    sentence = view.move("PiSSA", SHARED)
    lines, seeds = drawn(view.lines), drawn(view.seeds)
    for key, name in (("variant", "PiSSA"), ("plain", "LoRA"), ("control", RANDOM_START)):
        assert lines[key] == list(zip(*line_of(entries[name]), strict=True))
        assert [y for _, y in seeds[key]] == [*at(entries[name], SHARED), *at(entries[name], entries[name]["lr"])]
    both, own = compare(entries, "PiSSA", SHARED), compare(entries, "PiSSA")
    for one in (both, own):
        assert f"PiSSA {mean(one.ours):.0%}".replace("%", " %") in sentence and f"({one.verdict})" in sentence
    assert "Your guess: 0.02" in sentence and "Your guess" not in view.move("DoRA", SHARED)


def test_rslora_stands_beside_plain_lora_of_its_rank_and_has_no_control(view):
    assert "LoRA r=64" in view.move("rsLoRA r=64", SHARED)
    assert drawn(view.lines)["plain"] == list(zip(*line_of(view.entries["LoRA r=64"]), strict=True))
    assert not drawn(view.lines)["control"] and not view.key.legend_handles[2].get_visible()


def test_the_static_picture_tells_every_variant_at_both_rates(view):
    sentence = view.static_figure().sentence
    for name in ("LoRA", *variants(view.entries)):
        entry = view.entries[name]
        shares = [f"{mean(at(entry, lr)):.0%}".replace("%", " %") for lr in (SHARED, entry["lr"])]
        assert f"{name}: {', '.join(shares)}" in sentence
    controls = [mean(view.entries[name]["random"]) for name in variants(view.entries)]
    assert max(controls) < 0.15 and "reads one in ten" in sentence


def test_who_is_ahead_is_decided_by_all_seeds():
    entries = {
        "LoRA": {"lr": 1, "test": {"1": [0.5, 0.6]}},
        "DoRA": {"lr": 2, "test": {"1": [0.7, 0.8], "2": [0.6, 0.9]}},
    }
    assert compare(entries, "DoRA", 1).verdict == "ahead" and compare(entries, "DoRA").verdict == "level"
    assert compare(entries, "DoRA", 1, higher=False).verdict == "behind"
    assert told(Compared([1.9], [2.0], "ahead"), "DoRA", ".2f") == "DoRA 1.90, LoRA 2.00: ahead"


def test_the_table_has_a_row_each_with_costs_over_plain_loras():
    entries, costs = digit_entries("turned by 90°")[0], load_result("variants")["results"]["cost"]
    rows = [row.split("|")[1:-1] for row in as_markdown({"d": (entries, True, ".0%")}, SHARED).splitlines()]
    by_name = {row[0].strip(" *"): [cell.strip() for cell in row[1:]] for row in rows[2:]}
    assert list(by_name) == [name for name in costs if name != "full"]
    assert by_name["LoRA"][:2] == ["× 1.0", "× 1.0"] and by_name["LoRA"][3:] == ["41 %", "93 %"]
    assert by_name["DoRA"][0] == f"× {costs['DoRA']['ms'] / costs['LoRA']['ms']:.1f}"
    assert by_name["DoRA"][-1].endswith(compare(entries, "DoRA").verdict)


def test_on_smollm2_a_contenders_own_rate_has_the_lowest_validation_loss_and_all_seeds():
    runs = load_result("variants_smollm2")["results"]
    for name, entry in smollm2_entries().items():
        assert runs[name][str(entry["lr"])]["0"]["validation"] == min(
            by_seed["0"]["validation"] for by_seed in runs[name].values()
        )
        assert len(at(entry, entry["lr"])) == len(at(entry, 0.001)) == 3
        assert {lr: len(shares) for lr, shares in entry["test"].items()} == {
            lr: len(by) for lr, by in runs[name].items()
        }


def test_lines_of_code_are_those_that_run(tmp_path):
    path = tmp_path / "one.py"
    path.write_text(
        '"""Two\nlines."""\n\n# a comment\nx = 1  # counted\n\n\ndef f():\n    """No."""\n    return """\nyes\n"""\n'
    )
    assert code_lines(path) == 5
