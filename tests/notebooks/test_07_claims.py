"""What notebook 07 says and reads off ``data/answer_sheet.json``; and its solutions solve."""

from lora_teach.bases import load_name_gpt
from lora_teach.datasets import appointments
from lora_teach.exercises import check_completion_labels, check_grade
from lora_teach.measure.results import load_result
from lora_teach.peft_format.xray import xray
from lora_teach.pictures.answer_sheet.numbers import grade_sheet, plain_program, stored
from tests.notebooks.reading import DETAILS, ROOT, Lesson, printed

import pytest

EXAM = appointments.exam(24)


@pytest.fixture(scope="module")
def result():
    return load_result("answer_sheet")


@pytest.fixture(scope="module")
def prompts(result):
    return {name: stored(EXAM, kept) for name, kept in result["results"]["prompts"].items()}


@pytest.fixture(scope="module")
def runs(result):
    return {
        name: {int(step): stored(EXAM, kept) for step, kept in run["sheets"].items()}
        for name, run in result["results"]["runs"].items()
    }


@pytest.fixture(scope="module")
def shouted(result):
    sheets = result["results"]["capitals"]["seed 0"]["sheets"]
    return {int(step): grade_sheet(EXAM, kept["answers"], capitals=True) for step, kept in sheets.items()}


def test_names_and_cities_of_the_exam_are_in_no_training_sentence():
    lesson = appointments.training()
    assert not {one.where for one in EXAM} & {one.where for one in lesson}
    assert not {word for one in EXAM for word in one.who.split()} & {word for one in lesson for word in one.who.split()}
    assert [one.seen for one in EXAM] == [True] * 12 + [False] * 12


def test_name_gpts_finnish_updates_are_about_as_large_as_its_weights():
    relative = sorted(layer.relative for layer in xray(ROOT / "data" / "adapters" / "finnish", load_name_gpt()).layers)
    assert 0.4 < relative[0] < 0.6 and relative[-1] > 1.2
    assert sum(0.7 < one < 1.1 for one in relative) > len(relative) / 2


def test_there_are_fourteen_patterns():
    assert len(appointments.PATTERNS) == 8 and len(appointments.UNSEEN_PATTERNS) == 6


def test_every_kept_mark_is_what_grading_its_answer_gives(result):
    groups = [result["results"]["prompts"].items()]
    groups += [run["sheets"].items() for run in result["results"]["runs"].values()]
    for kept in (kept for group in groups for _, kept in group):
        assert (stored(EXAM, kept).marks == grade_sheet(EXAM, kept["answers"]).marks).all()


def test_the_bare_base_has_no_answer_valid(prompts):
    assert prompts["bare"].count("valid") == 0


def test_after_instructions_most_cities_are_there_and_the_shape_is_not(prompts):
    sheet = prompts["instructions"]
    quoted = sum(f'"{one.where}"' in said for one, said in zip(EXAM, sheet.answers, strict=True))
    assert quoted > 12 and sheet.count("where") == 2 and sheet.right() == 0 and prompts["a form"].right() == 0


def test_examples_bring_the_shape_and_seven_do_worse_than_four(prompts):
    four, seven = prompts["four examples"], prompts["seven examples"]
    assert four.count("valid") == seven.count("valid") == 24
    assert 0 < seven.right() < four.right() < 20
    assert seven.count("when") < 12 < min(seven.count("who"), seven.count("where"))
    shown = appointments.training()
    assert len({one.when for one in shown}) == 7
    assert sum('"when": 8}' in said or '"when": 10}' in said for said in seven.answers) == 22


def test_four_examples_make_the_prompt_about_five_times_as_long(result):
    prompts = result["results"]["prompts"]
    assert prompts["four examples"]["tokens"] > 5 * prompts["bare"]["tokens"]


def test_the_shape_comes_first_and_the_weekday_last(runs):
    for sheets in runs.values():
        sheet = sheets[10]
        assert sheet.count("valid") >= max(sheet.count("who"), sheet.count("where")) > sheet.count("when")


def test_nearly_all_comes_with_120_examples_and_unseen_patterns_are_no_harder(runs):
    for sheets in runs.values():
        assert sheets[20].right() > 16 > sheets[10].right()
    for step in (20, 40, 60):
        seen, unseen = (sum(sheets[step].right(kind) for sheets in runs.values()) for kind in (True, False))
        assert unseen > seen - 2 * len(runs)


def test_the_program_is_unbeaten_in_its_patterns_and_behind_in_others_with_as_many_in_all_as_two_runs(runs):
    program = grade_sheet(EXAM, [plain_program(one.sentence) for one in EXAM])
    assert (program.right(True), program.right(False)) == (12, 6)
    assert all(sheets[step].right(False) > 6 for sheets in runs.values() for step in (20, 40, 60))
    assert [sheets[60].right() for sheets in runs.values()] == [20, 18, 18]


def test_then_it_stops_getting_better_with_little_left_to_learn_from_the_training_sentences(runs, result):
    for name, sheets in runs.items():
        assert max(sheets[40].right(), sheets[60].right()) <= sheets[20].right() + 2
        assert max(result["results"]["runs"][name]["loss"][-20:]) < 0.05
        assert sheets[60].count("when") == 24 == sheets[60].count("valid")  # what is left is copying
    assert all(any(word in said for said in runs["seed 0"][60].answers) for word in ("Glencoe", "Athea"))


def test_one_run_has_23_at_step_20_and_the_two_others_never_come_to_20(runs):
    first, *others = runs.values()
    assert first[20].right() == 23 and len(others) == 2
    assert max(sheet.right() for sheets in others for sheet in sheets.values()) < 20
    assert [runs[f"seed {seed}"][step].right() for seed in (1, 2) for step in (20, 40)] == [17, 19, 17, 17]


def test_with_the_rule_of_capitals_it_shouts_and_does_not_spell(shouted, result):
    assert shouted[20].count("who") == shouted[60].count("who") < 13
    assert min(shouted[60].count(column) for column in ("where", "when")) >= 22
    last = [said.split('"')[3].split()[-1] for said in shouted[60].answers]
    assert sum(word.isupper() for word in last) >= 23 and "LAYSON" in last
    assert max(result["results"]["capitals"]["seed 0"]["loss"][-10:]) < 0.05
    assert len(set(appointments.LAST)) == 30 and len(appointments.training()) == 360


def test_in_the_saved_run_the_learners_sentence_is_valid_and_wrong_twice():
    lesson = Lesson(ROOT / "notebooks" / "07_a_real_language_model.ipynb")
    (answer,) = [printed(cell) for _, cell in lesson.code if "yours, " in cell.source]
    assert "Next Friday" in answer and "Zurich" in answer and '"where": "Zurch", "when": 2}' in answer
    assert appointments.DAYS.index("Friday") + 1 == 5


def test_every_linear_layer_is_ahead_of_the_mlp_and_the_mlp_of_the_attention_in_every_seed():
    places = {place: one["test"] for place, one in load_result("places")["results"].items()}
    assert max(places["all linear"]) < min(places["MLP"]) and max(places["MLP"]) < min(places["attention"])


def test_the_solutions_solve_the_exercises():
    lesson = Lesson(ROOT / "notebooks" / "07_a_real_language_model.ipynb")
    solutions = {}
    for _, cell in lesson.markdown:
        for folded in DETAILS.findall(cell.source):
            if "Solution" in folded:
                exec(folded.split("```python")[1].split("```")[0], solutions)
    assert check_grade(solutions["grade"]).passed
    assert check_completion_labels(solutions["labels"]).passed
