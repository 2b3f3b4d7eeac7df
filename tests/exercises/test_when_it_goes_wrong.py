"""Notebook 08's checks: the solution, the stub and the usual mistakes."""

from lora_teach.exercises import TODO, check_cure, check_diagnosis
from lora_teach.pictures.broken_runs.numbers import MISTAKES, drawn_mistakes

import pytest


def right(number):
    return {letter: MISTAKES[mistake][1] for letter, mistake in drawn_mistakes(number).items()}


def cure(run):
    for finding in run.doctor().findings:
        if finding.fault == "both_factors_zero":
            for layer in run.model.lora_layers.values():
                layer.reset_parameters()
        elif finding.fault == "alpha_zero":
            run.model.set_alpha(4)
        else:
            run.rebuild()


@pytest.mark.parametrize("number", range(12))
def test_the_right_answers_pass_and_one_run_is_healthy(number):
    assert sorted(right(number).values()).count("healthy") == 1
    assert check_diagnosis(number, right(number)).passed


def test_every_mistake_is_drawn():
    assert {mistake for number in range(30) for mistake in drawn_mistakes(number).values()} == set(MISTAKES)


@pytest.mark.parametrize("answers", [TODO, {"A": TODO, "B": TODO, "C": TODO}])
def test_the_stub_is_todo(answers):
    assert check_diagnosis(1, answers).status == "TODO"


@pytest.mark.parametrize("number", range(12))
def test_a_wrong_answer_is_told_what_to_look_at_and_not_what_it_is(number):
    truth = right(number)
    for letter in "ABC":
        for other in {fault for _, fault in MISTAKES.values()} - {truth[letter]}:
            result = check_diagnosis(number, truth | {letter: other})
            assert result.status == "NOT YET" and f"run {letter}" in result.message
            assert truth[letter] not in result.message


def test_answers_that_are_none():
    assert "nothing for run C" in check_diagnosis(1, {key: right(1)[key] for key in "AB"}).message
    assert "no name of the doctor's" in check_diagnosis(1, right(1) | {"A": "lr"}).message
    assert "is a dict" in check_diagnosis(1, "healthy").message


def test_the_solution_cures_all():
    assert check_cure(cure).passed


def rebuilds_only(run):
    run.rebuild()


def too_slow(run):
    cure(run)
    run.rebuild(lr=1e-4)


def does_nothing(run):
    pass


def trains_the_base(run):
    cure(run)
    run.model.requires_grad_(True)
    run.rebuild()


@pytest.mark.parametrize("wrong, said", [
    (rebuilds_only, "the doctor finds both_factors_zero"), (too_slow, "still doesn't learn"),
    (does_nothing, "the doctor finds optimizer_misses_adapters"), (trains_the_base, "base_not_frozen"),
])  # fmt: skip
def test_a_wrong_cure_is_told_which_run_stays_ill(wrong, said):
    result = check_cure(wrong)
    assert result.status == "NOT YET" and said in result.message


def test_the_stub_of_the_cure_is_todo():
    assert check_cure(lambda run: TODO).status == "TODO"
