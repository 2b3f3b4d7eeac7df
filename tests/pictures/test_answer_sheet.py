"""The answer sheet: an exam graded as the house format says, sat between steps, drawn where its marks are.

A pupil takes the language model's place.
"""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace

from data.make_answer_sheet import with_instructions
from lora_teach.datasets import appointments
from lora_teach.live import explore, monitor
from lora_teach.live import watch as watching
from lora_teach.measure.results import load_result
from lora_teach.pictures.answer_sheet import AnswerSheets, numbers, view
from lora_teach.pictures.answer_sheet.numbers import SheetRun, grade_sheet, sit
from lora_teach.pictures.answer_sheet.view import DrawnSheet, Filling, draw_sheets, train_on_sheet
from lora_teach.training import Step, training_steps
from tests.live.sweep import sweep
from tests.pictures.pupil import pupil

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
EXAM = appointments.exam(24)


@pytest.fixture
def eager(monkeypatch):
    """Draws after every piece, so that nothing depends on the clock."""
    monkeypatch.setattr(watching, "PAUSE", -1.0)
    monkeypatch.setattr(monitor, "FRAME", -1.0)


def test_a_right_answer_has_four_marks_and_half_a_right_one_fewer():
    one, other, third, *_ = EXAM
    late = json.dumps({"who": other.who, "where": other.where, "when": other.when % 7 + 1})
    sheet = grade_sheet(EXAM, [one.answer(), late, "I see."])
    assert sheet.marks.tolist() == [[True] * 4, [True, True, False, True], [False] * 4]
    assert sheet.right() == 1 and sheet.count("valid") == sheet.count("who") == 2 and sheet.count("when") == 1
    assert third.seen and sheet.right(seen=True) == 1 and sheet.right(seen=False) == 0


def test_seen_and_unseen_patterns_are_counted_apart():
    answers = [one.answer() if not one.seen else "I see." for one in EXAM]
    sheet = grade_sheet(EXAM, answers)
    assert (sheet.right(), sheet.right(True), sheet.right(False)) == (12, 0, 12)


def test_with_the_rule_of_capitals_only_capitals_are_right():
    plain, loud = [one.answer() for one in EXAM], [one.answer(capitals=True) for one in EXAM]
    assert grade_sheet(EXAM, loud, capitals=True).right() == 24
    sheet = grade_sheet(EXAM, plain, capitals=True)
    assert sheet.count("who") == 0 and sheet.count("where") == 24


def test_a_kept_sheet_is_read_as_it_was_written():
    sheet = grade_sheet(EXAM, [one.answer() if one.when > 3 else "{}" for one in EXAM], seconds=2.5)
    marks = ["".join(str(int(mark)) for mark in row) for row in sheet.marks]
    read = numbers.stored(EXAM, {"marks": marks, "answers": sheet.answers, "seconds": 2.5})
    assert (read.marks == sheet.marks).all() and read.answers == sheet.answers and read.right() == sheet.right()


def test_prompts_end_in_the_same_question_and_examples_come_from_training():
    (asked,) = numbers.bare(EXAM[0])
    assert asked == appointments.example(EXAM[0])[0]
    prompt = numbers.with_examples(7)(EXAM[0])
    assert prompt[-1] == asked and len(prompt) == 15
    shown = [json.loads(message["content"])["when"] for message in prompt[1::2]]
    assert sorted(shown) == [1, 2, 3, 4, 5, 6, 7]
    known = {one.sentence for one in appointments.training()}
    assert all(message["content"].split("\n")[1] in known for message in prompt[:-1:2])
    assert with_instructions("Do.\n")(EXAM[0]) == [{"role": "user", "content": "Do.\n" + EXAM[0].sentence}]


@pytest.mark.parametrize("count", [0, 8])
def test_more_examples_than_weekdays_are_refused(count):
    with pytest.raises(ValueError, match="Use 1 to 7"):
        numbers.with_examples(count)


def test_the_plain_program_knows_the_training_patterns_and_half_of_the_others():
    def right(exam):
        return grade_sheet(exam, [numbers.plain_program(one.sentence) for one in exam])

    lesson = appointments.training()
    assert right(lesson).right() == len(lesson)
    assert (right(EXAM).right(True), right(EXAM).right(False)) == (12, 6)
    assert len({one.sentence for one in EXAM[12:]}) == 12
    assert numbers.plain_program("Nobody goes anywhere.") == "no answer"


def test_a_sheet_asks_each_sentence_with_the_prompt_it_was_given():
    exam, base, model = pupil(knows=5)
    sheet = sit(base, model, exam, numbers.with_examples(2))
    assert sheet.right() == 5 and len(sheet) == 24 and sheet.seconds >= 0
    assert [len(conversation) for conversation in base.asked[0]] == [5] * 24


def test_the_exam_is_sat_after_the_steps_that_were_named_and_changes_no_step():
    exam, base, model = pupil(knows=3)
    pieces = list(numbers.exam_steps(base, model, exam, steps=6, at=(0, 2, 6), lr=1e-2, batch_size=5, seed=1))
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
    *parts, step = list(numbers.exam_steps(base, model, exam, steps=1, at=(0,), parts=2))
    assert [len(part) for part in parts] == [12, 24] and isinstance(step, Step)
    assert parts[-1].right() == 14 and (parts[-1].marks[:12] == parts[0].marks).all()


def test_with_capitals_the_answers_to_learn_have_them():
    exam, base, model = pupil()
    list(numbers.exam_steps(base, model, exam, steps=1, at=(), capitals=True))
    examples, _, _ = base.trained_on
    assert all(json.loads(talk[-1]["content"])["who"].split(" ")[1].isupper() for talk in examples)


def test_marks_are_booleans_by_sentence_and_column():
    empty = grade_sheet(EXAM, [])
    assert empty.marks.shape == (0, 4) and empty.marks.dtype == np.bool_ and empty.right() == 0


def train(knows=7, **options):
    exam, base, model = pupil(knows)
    return base, asyncio.run(train_on_sheet(model, base, exam=exam, **options))


def test_a_run_keeps_its_losses_and_its_whole_sheets(eager):
    base, run = train(steps=7, every=3)
    assert len(run) == len(run.history) == 7 and run.history.stopped is None
    assert list(run.sheets) == [3, 6, 7] and all(len(sheet) == 24 for sheet in run.sheets.values())
    assert run.sheets[7].right() == 7
    assert [len(asked) for asked in base.asked] == [12, 12] * 3


def test_a_sheet_sat_before_stands_first_and_is_not_sat_again(eager):
    exam, base, model = pupil(knows=2)
    first = sit(base, model, exam)
    run = asyncio.run(train_on_sheet(model, base, exam=exam, steps=2, every=2, first=first))
    assert list(run.sheets) == [0, 2] and run.sheets[0] is first and len(base.asked) == 3


def test_stop_ends_the_run_and_a_half_filled_sheet_is_not_kept(eager, monkeypatch):
    exam, base, model = pupil()
    monitors = []

    class Seen(monitor.Monitor):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            monitors.append(self)

    monkeypatch.setattr(watching, "Monitor", Seen)
    answer = base.answer

    def pressed(*given, **options):
        monitors[0].button.click()
        return answer(*given, **options)

    base.answer = pressed
    run = asyncio.run(train_on_sheet(model, base, exam=exam, steps=8, every=4))
    assert len(run) == 4 and run.history.stopped == "stopped after step 4 of 8"
    assert run.sheets == {} and len(run.filling) == 12
    assert "before the first sheet" in Filling(exam, 8).sentence(run)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"every": 0}])
def test_counts_below_one_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=0"):
        train(**{"steps": 2, "every": 1} | wrong)


def test_the_sentence_counts_both_kinds_of_pattern_and_each_column():
    exam = appointments.exam(24)
    run = SheetRun(exam, {0: grade_sheet(exam, [one.answer() for one in exam[:14]] + ["I see."] * 10)})
    said = Filling(exam, 5, guess=90).sentence(run)
    assert "right in 14 of 24 answers, 12 of 12 in patterns of training and 2 of 12" in said
    assert "valid 14, where 14, when 14, who 14" in said and "Your guess for 20 right: 90 examples." in said


def test_the_slider_shows_each_kept_sheet_with_its_counts():
    kept = load_result("answer_sheet")["results"]["runs"]
    explorer = explore(AnswerSheets(100))
    for values, sentence in sweep(explorer):
        marks = kept[values["run"]]["sheets"][str(values["step"])]["marks"]
        right = [mark == "1111" for mark in marks]
        assert f"in {sum(right)} of 24 answers, {sum(right[:12])} of 12" in sentence
        assert f"After step {values['step']}, {6 * values['step']} training examples" in sentence
        assert len(explorer.view.drawn.marks.right.get_xdata()) == sum(mark.count("1") for mark in marks)
        assert len(explorer.view.drawn._loss.get_xdata()) == values["step"]


def test_the_saved_picture_shows_four_sheets():
    kept = load_result("answer_sheet")["results"]["runs"]["seed 0"]["sheets"]
    said = AnswerSheets().static_figure().sentence
    for step in (0, 5, 20, 60):
        assert f"{sum(mark == '1111' for mark in kept[str(step)]['marks'])} at step {step}" in said


SEEN = [True, True, False]
MARKS = np.array([[1, 1, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=bool)


def cells(line):
    return sorted((float(y), int(x)) for x, y in zip(*line.get_data(), strict=True))


def sheet(**options):
    exam = [
        SimpleNamespace(sentence=text, seen=seen) for text, seen in zip(("One.", "Two.", "Three."), SEEN, strict=True)
    ]
    return DrawnSheet(exam, 10, **options)


def test_ticks_stand_where_marks_are_right_and_crosses_where_they_are_wrong():
    drawn = sheet()
    drawn.show(MARKS, [], {})
    assert cells(drawn.marks.right) == [(0, 0), (0, 1), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]
    third = 2 + view.GAP
    assert cells(drawn.marks.wrong) == [(0, 2), (third, 0), (third, 1), (third, 2), (third, 3)]
    assert cells(drawn.marks.open) == []
    assert [total.get_text() for total in drawn._totals] == ["2", "2", "1", "2"]


def test_a_sheet_half_filled_leaves_the_rest_open():
    drawn = sheet()
    drawn.show(MARKS[:2], [], {})
    third = 2 + view.GAP
    assert cells(drawn.marks.open) == [(third, 0), (third, 1), (third, 2), (third, 3)]
    drawn.show(MARKS[:0], [], {})
    assert len(cells(drawn.marks.open)) == 12 and [total.get_text() for total in drawn._totals] == [""] * 4


def test_tick_and_cross_differ_in_shape_and_in_colour():
    drawn = sheet()
    assert drawn.marks.right.get_color() != drawn.marks.wrong.get_color()
    assert drawn.marks.right.get_marker() is view.TICK and drawn.marks.wrong.get_marker() == "x"


def test_the_loss_axis_grows_with_the_loss_and_scores_stand_at_their_steps():
    drawn = sheet()
    drawn.show(MARKS, [2.0, 8.0], {0: 0, 5: 2})
    assert drawn._loss.get_xydata().tolist() == [[1, 2], [2, 8]] and drawn._axes.get_ylim()[1] > 8
    assert drawn._score.get_xydata().tolist() == [[0, 0], [5, 2]]


@pytest.mark.parametrize("step", [4, 30])
def test_a_guess_is_a_hollow_diamond_within_the_picture(step):
    drawn = sheet(guess=6 * step)
    (mark,) = [line for axes in drawn.picture.figure.axes for line in axes.lines if line.get_marker() == "D"]
    assert mark.get_xydata().tolist() == [[step, 20]] and mark.get_markerfacecolor() == "none"
    assert mark.axes.get_xlim()[1] >= step


def test_small_multiples_count_what_is_right_in_both_kinds_of_pattern():
    exam = [
        SimpleNamespace(sentence=text, seen=seen) for text, seen in zip(("One.", "Two.", "Three."), SEEN, strict=True)
    ]
    figure = draw_sheets({"step 0": MARKS & False, "step 5": MARKS}, exam)
    told = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes]
    assert told == [["One.", "Two.", "Three."], ["", "", ""]]
    said = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert said == [
        ["patterns of training: 0 of 2", "patterns never seen: 0 of 1"],
        ["patterns of training: 1 of 2", "patterns never seen: 0 of 1"],
    ]
    assert [axes.get_title(loc="center") for axes in figure.axes] == ["step 0", "step 5"]


@pytest.mark.parametrize("guess", ["300", True, -1, float("nan")])
def test_a_guess_that_is_no_number_of_examples_is_refused(guess):
    with pytest.raises((TypeError, ValueError), match="Give a number of training examples from 0 to"):
        sheet(guess=guess)
