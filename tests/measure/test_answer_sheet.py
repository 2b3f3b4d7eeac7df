"""The exam of notebook 07: graded as the house format says, sat between steps that it doesn't change."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from lora_teach.datasets import appointments
from lora_teach.measure.counting import lora_parameters
from lora_teach.pictures.answer_sheet import numbers as sheets
from lora_teach.training import Step, training_steps
from tests.measure.sheets import pupil

EXAM = appointments.exam(24)


def test_a_right_answer_has_four_marks_and_half_a_right_one_fewer():
    one, other, third, *_ = EXAM
    late = json.dumps({"who": other.who, "where": other.where, "when": other.when % 7 + 1})
    sheet = sheets.grade_sheet(EXAM, [one.answer(), late, "I see."])
    assert sheet.marks.tolist() == [[True] * 4, [True, True, False, True], [False] * 4]
    assert sheet.right() == 1 and sheet.count("valid") == sheet.count("who") == 2 and sheet.count("when") == 1
    assert third.seen and sheet.right(seen=True) == 1 and sheet.right(seen=False) == 0


def test_seen_and_unseen_patterns_are_counted_apart():
    answers = [one.answer() if not one.seen else "I see." for one in EXAM]
    sheet = sheets.grade_sheet(EXAM, answers)
    assert (sheet.right(), sheet.right(True), sheet.right(False)) == (12, 0, 12)


def test_with_the_rule_of_capitals_only_capitals_are_right():
    plain, loud = [one.answer() for one in EXAM], [one.answer(capitals=True) for one in EXAM]
    assert sheets.grade_sheet(EXAM, loud, capitals=True).right() == 24
    sheet = sheets.grade_sheet(EXAM, plain, capitals=True)
    assert sheet.count("who") == 0 and sheet.count("where") == 24


def test_a_kept_sheet_is_read_as_it_was_written():
    sheet = sheets.grade_sheet(EXAM, [one.answer() if one.when > 3 else "{}" for one in EXAM], seconds=2.5)
    marks = ["".join(str(int(mark)) for mark in row) for row in sheet.marks]
    read = sheets.stored(EXAM, {"marks": marks, "answers": sheet.answers, "seconds": 2.5})
    assert (read.marks == sheet.marks).all() and read.answers == sheet.answers and read.right() == sheet.right()


def test_prompts_end_in_the_same_question_and_examples_come_from_training():
    (asked,) = sheets.bare(EXAM[0])
    assert asked == appointments.example(EXAM[0])[0]
    prompt = sheets.with_examples(7)(EXAM[0])
    assert prompt[-1] == asked and len(prompt) == 15
    shown = [json.loads(message["content"])["when"] for message in prompt[1::2]]
    assert sorted(shown) == [1, 2, 3, 4, 5, 6, 7]
    known = {one.sentence for one in appointments.training()}
    assert all(message["content"].split("\n")[1] in known for message in prompt[:-1:2])
    assert sheets.with_instructions("Do.\n")(EXAM[0]) == [{"role": "user", "content": "Do.\n" + EXAM[0].sentence}]


@pytest.mark.parametrize("count", [0, 8])
def test_more_examples_than_weekdays_are_refused(count):
    with pytest.raises(ValueError, match="Use 1 to 7"):
        sheets.with_examples(count)


def test_the_plain_program_knows_the_training_patterns_and_half_of_the_others():
    def right(exam):
        return sheets.grade_sheet(exam, [sheets.plain_program(one.sentence) for one in exam])

    lesson = appointments.training()
    assert right(lesson).right() == len(lesson)
    assert (right(EXAM).right(True), right(EXAM).right(False)) == (12, 6)
    assert len({one.sentence for one in EXAM[12:]}) == 12
    assert sheets.plain_program("Nobody goes anywhere.") == "no answer"


def test_a_sheet_asks_each_sentence_with_the_prompt_it_was_given():
    exam, base, model = pupil(knows=5)
    sheet = sheets.sit(base, model, exam, sheets.with_examples(2))
    assert sheet.right() == 5 and len(sheet) == 24 and sheet.seconds >= 0
    assert [len(conversation) for conversation in base.asked[0]] == [5] * 24


def test_the_exam_is_sat_after_the_steps_that_were_named_and_changes_no_step():
    exam, base, model = pupil(knows=3)
    pieces = list(sheets.exam_steps(base, model, exam, steps=6, at=(0, 2, 6), lr=1e-2, batch_size=5, seed=1))
    kinds = ["step" if isinstance(piece, Step) else "sheet" for piece in pieces]
    assert kinds == ["sheet", *["step"] * 2, "sheet", *["step"] * 4, "sheet"]
    examples, batch_size, seed = base.trained_on
    assert examples == [appointments.example(one) for one in appointments.training()] and (batch_size, seed) == (5, 1)

    _, other, untouched = pupil(knows=3)
    batches = other.batches(examples, 5, 1)
    steps = training_steps(untouched, batches, other.loss_fn, lr=1e-2, steps=6, seed=1)
    assert [piece.loss for piece in pieces if isinstance(piece, Step)] == [step.loss for step in steps]
    for ours, theirs in zip(model.trainable_parameters(), untouched.trainable_parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_sheet_in_parts_ends_as_the_whole_one():
    exam, base, model = pupil(knows=14)
    *parts, step = list(sheets.exam_steps(base, model, exam, steps=1, at=(0,), parts=2))
    assert [len(part) for part in parts] == [12, 24] and isinstance(step, Step)
    assert parts[-1].right() == 14 and (parts[-1].marks[:12] == parts[0].marks).all()


def test_with_capitals_the_answers_to_learn_have_them():
    exam, base, model = pupil()
    list(sheets.exam_steps(base, model, exam, steps=1, at=(), capitals=True))
    examples, _, _ = base.trained_on
    assert all(json.loads(talk[-1]["content"])["who"].split(" ")[1].isupper() for talk in examples)


def test_equal_ranks_buy_as_many_numbers_within_half_a_rank():
    model = nn.ModuleDict({"wide": nn.Linear(64, 64), "thin": nn.Linear(8, 24)})
    sets = {"wide": ["wide"], "both": ["wide", "thin"]}
    ranks = sheets.equal_ranks(model, sets, parameters=1000)
    assert ranks == {"wide": 8, "both": 6}
    for name, rank in ranks.items():
        one = lora_parameters(model, 1, sets[name])
        assert abs(rank * one - 1000) <= one / 2


def test_marks_are_booleans_by_sentence_and_column():
    empty = sheets.grade_sheet(EXAM, [])
    assert empty.marks.shape == (0, 4) and empty.marks.dtype == np.bool_ and empty.right() == 0
