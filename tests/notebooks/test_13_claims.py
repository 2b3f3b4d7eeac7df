"""What notebook 13 says of its table, picture and verdicts without a cell that shows it; its solutions solve."""

import math
from statistics import mean

from lora_teach.datasets.names import ALPHABET, load
from lora_teach.exercises import check_advantages, check_reward
from lora_teach.measure.results import load_result
from lora_teach.pictures.equal_kl.claims import reward_claims
from lora_teach.pictures.equal_kl.numbers import at_equal_kl, ends
from tests.notebooks.reading import DETAILS, ROOT, Lesson

import pytest
import torch


@pytest.fixture(scope="module")
def results():
    return load_result("rewards")["results"]


@pytest.fixture(scope="module")
def said():
    return {claim.text: claim.verdict for claim in reward_claims()}


def test_without_a_penalty_all_please_the_judge_and_know_less_than_a_blind_guess(results):
    rows = {what: row for what, row in ends(results).items() if "no penalty" in what}
    for row in rows.values():
        assert row["success"] > 0.99 and row["language"] > 7 > math.log(len(ALPHABET)) == pytest.approx(4.03, abs=0.01)
    assert all(row["distinct"] < 0.1 for what, row in rows.items() if "LoRA" in what)


def test_one_full_fine_tuning_kept_its_variety_in_letters_that_english_lacks(results):
    runs = results["contenders"]["full"]["runs"]["0.0"]
    (wild,) = [run for run in runs if run["distinct"][-1] > 0.9]
    assert not set(wild["favourite"][-1]) & set("".join(load("English").train))


def test_with_the_penalty_real_finnish_names_are_no_likelier_than_to_the_base(results):
    for what, row in ends(results).items():
        if "penalty 0.1" in what:
            assert (
                row["language"] >= results["base"]["language"] and 0.7 < row["success"] < 0.9 and row["distinct"] > 0.7
            )


def test_rank_1_gets_what_full_fine_tuning_gets_at_every_distance(results, said):
    for level in (1, 2, 3, 4):
        spans = at_equal_kl(results, level, "success")
        assert spans["LoRA r=1"].mean > spans["full"].mean - 0.02
    sizes = {name: entry["runs"]["0.1"][0]["trainable"] for name, entry in results["contenders"].items()}
    assert sizes["LoRA r=1"] == 5_184 and sizes["full"] == 342_720
    rank_1 = [verdict for text, verdict in said.items() if text.startswith("LoRA r=1 gains") or "best rate" in text]
    assert rank_1 == ["holds here"] * 3
    rates = {name: entry["lr"] for name, entry in results["contenders"].items()}
    assert rates["LoRA r=1"] / rates["full"] == pytest.approx(10)


def test_runs_without_a_penalty_race_through_these_distances(results):
    jumps = [max(b - a for a, b in zip(run["kl"], run["kl"][1:], strict=False))
             for entry in results["contenders"].values() for run in entry["runs"]["0.0"]]  # fmt: skip
    assert mean(jump > 4 for jump in jumps) > 0.8


def test_a_reward_stays_mostly_closer_to_the_base_and_keeps_no_more_english(said):
    closer = [verdict for text, verdict in said.items() if "lead further" in text]
    english = {text: verdict for text, verdict in said.items() if "cost more English" in text}
    assert len(closer) == len(english) == 4
    assert closer.count("holds here") == 3 and "fails here" not in closer
    assert "holds here" not in english.values()
    assert [verdict for text, verdict in english.items() if text.startswith("full")] == ["fails here"] * 2


def test_the_answers_bring_the_finnish_of_real_names(results):
    for runs in results["supervised"].values():
        assert all(run["language"][-1] < results["base"]["language"] - 0.9 for run in runs)
    assert len(load("Finnish").train) == 551


def test_the_folded_solutions_solve_their_exercises():
    lesson, space = Lesson(ROOT / "notebooks" / "13_learning_from_a_reward.ipynb"), {"torch": torch}
    for cell in lesson.cells:
        for block in DETAILS.findall(cell.source) if cell.cell_type == "markdown" else []:
            exec("".join(part.split("```")[0] for part in str(block).split("```python")[1:]), space)
    assert check_advantages(space["advantages"]).passed
    assert check_reward(space["my_reward"], space["good"]).passed
