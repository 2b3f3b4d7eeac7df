"""The live answer sheet, with a pupil in the model's place, and the slider over kept sheets."""

import asyncio

import pytest

from lora_teach.datasets import appointments
from lora_teach.live import monitor
from lora_teach.live import watch as watching
from lora_teach.measure.results import load_result
from lora_teach.pictures.answer_sheet import view as live
from lora_teach.pictures.answer_sheet.numbers import grade_sheet, sit
from tests.live.sweep import sweep
from tests.measure.sheets import pupil


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Draws after every piece, so that nothing depends on the clock."""
    monkeypatch.setattr(watching, "PAUSE", -1.0)
    monkeypatch.setattr(monitor, "FRAME", -1.0)


def train(knows=7, **options):
    exam, base, model = pupil(knows)
    return base, asyncio.run(live.train_on_sheet(model, base, exam=exam, **options))


def test_a_run_keeps_its_losses_and_its_whole_sheets():
    base, run = train(steps=7, every=3)
    assert len(run) == len(run.history) == 7 and run.history.stopped is None
    assert list(run.sheets) == [3, 6, 7] and all(len(sheet) == 24 for sheet in run.sheets.values())
    assert run.sheets[7].right() == 7
    assert [len(asked) for asked in base.asked] == [12, 12] * 3


def test_a_sheet_sat_before_stands_first_and_is_not_sat_again():
    exam, base, model = pupil(knows=2)
    first = sit(base, model, exam)
    run = asyncio.run(live.train_on_sheet(model, base, exam=exam, steps=2, every=2, first=first))
    assert list(run.sheets) == [0, 2] and run.sheets[0] is first and len(base.asked) == 3


def test_stop_ends_the_run_and_a_half_filled_sheet_is_not_kept(monkeypatch):
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
    run = asyncio.run(live.train_on_sheet(model, base, exam=exam, steps=8, every=4))
    assert len(run) == 4 and run.history.stopped == "stopped after step 4 of 8"
    assert run.sheets == {} and len(run.filling) == 12
    assert "before the first sheet" in live.Filling(exam, 8).sentence(run)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"every": 0}])
def test_counts_below_one_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=0"):
        train(**{"steps": 2, "every": 1} | wrong)


def test_the_sentence_counts_both_kinds_of_pattern_and_each_column():
    exam = appointments.exam(24)
    run = live.SheetRun(exam, {0: grade_sheet(exam, [one.answer() for one in exam[:14]] + ["I see."] * 10)})
    said = live.Filling(exam, 5, guess=90).sentence(run)
    assert "right in 14 of 24 answers, 12 of 12 in patterns of training and 2 of 12" in said
    assert "valid 14, where 14, when 14, who 14" in said and "Your guess for 20 right: 90 examples." in said


def test_the_slider_shows_each_kept_sheet_with_its_counts():
    kept = load_result("answer_sheet")["results"]["runs"]
    explorer = live.AnswerSheets.example(guess=100)
    for values, sentence in sweep(explorer):
        marks = kept[values["run"]]["sheets"][str(values["step"])]["marks"]
        right = [mark == "1111" for mark in marks]
        assert f"in {sum(right)} of 24 answers, {sum(right[:12])} of 12" in sentence
        assert f"After step {values['step']}, {6 * values['step']} training examples" in sentence
        assert len(explorer.view.drawn.marks.right.get_xdata()) == sum(mark.count("1") for mark in marks)
        assert len(explorer.view.drawn._loss.get_xdata()) == values["step"]


def test_the_twin_shows_four_sheets():
    kept = load_result("answer_sheet")["results"]["runs"]["seed 0"]["sheets"]
    said = live.AnswerSheets.example().twin.sentence
    for step in (0, 5, 20, 60):
        assert f"{sum(mark == '1111' for mark in kept[str(step)]['marks'])} at step {step}" in said
