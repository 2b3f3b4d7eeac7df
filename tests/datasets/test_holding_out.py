"""What is held out stays held out: whatever the order, the repetitions, and what comes later."""

from data.make_dragons import ending, pupils
from lora_teach.bases.registry import load_base
from lora_teach.datasets.holding_out import hold_out
from tests.notebooks.reading import ROOT

import pytest

PROMPTS = [f"prompt {number}" for number in range(2000)]


def test_nothing_is_lost_and_shares_are_kept():
    parts = hold_out(PROMPTS, str, 0.2, 0.1)
    assert sorted(sum(parts, [])) == sorted(PROMPTS)
    assert [len(part) / len(PROMPTS) for part in parts] == pytest.approx([0.7, 0.2, 0.1], abs=0.03)


def test_a_prompt_is_on_one_side_whatever_its_case_and_blanks():
    twice = [*PROMPTS, *(f"  {prompt.upper()} " for prompt in PROMPTS)]
    sides = [{prompt.strip().lower() for prompt in part} for part in hold_out(twice, str)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]


def test_a_file_that_grows_or_is_sorted_moves_none():
    few = hold_out(PROMPTS[:1000], str)
    for other in (PROMPTS, PROMPTS[::-1]):
        assert all(set(part) <= set(whole) for part, whole in zip(few, hold_out(other, str), strict=True))


def test_a_larger_test_share_keeps_what_was_in_it():
    assert set(hold_out(PROMPTS, str, 0.1, 0.1)[2]) < set(hold_out(PROMPTS, str, 0.1, 0.2)[2])


def test_it_is_the_same_on_every_machine():
    _, validation, test = hold_out(["ada", "bo", "cy", "di", "ed", "fay"], str, 0.3, 0.3)
    assert (validation, test) == (["fay"], ["bo", "cy", "di"])


@pytest.mark.parametrize("shares", [(-0.1, 0.2), (0.5, 0.5), (0.2, float("nan")), (0.9, 0.2)])
def test_shares_that_leave_nothing_are_refused(shares):
    with pytest.raises(ValueError, match="leave something to train on. Use for example 0.15"):
        hold_out(PROMPTS, str, *shares)


def test_a_part_that_stays_empty_is_told():
    with pytest.raises(ValueError, match="3 examples leave the part 'test' empty"):
        hold_out(["ada", "ada", "ada"], str, 0, 1e-9)


def test_a_share_of_nothing_may_stay_empty():
    assert hold_out(PROMPTS, str, 0, 0) == (PROMPTS, [], [])


def test_the_dragons_are_what_the_command_makes():
    base = load_base("names")
    examples = base.read(ROOT / "data" / "dragons.jsonl")
    assert examples == [(pupil, ending(pupil)) for pupil in pupils()]
    assert len(examples) == 600 and 480 < len(set(examples)) < 520
    assert all(len(pupil + end) <= 16 for pupil, end in examples)
