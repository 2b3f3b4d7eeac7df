"""Notebook 08's checks: the solution, the stub and the usual mistakes."""

from lora_teach.exercises import TODO, check_cure, check_diagnosis
from lora_teach.pictures.broken_runs.numbers import MISTAKES, drawn_mistakes

import pytest
import torch


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


def test_the_buttons_names_will_do():
    buttons = {fault: button for button, (_, fault) in MISTAKES.items()}
    assert check_diagnosis(1, {letter: buttons[fault] for letter, fault in right(1).items()}).passed


def test_answers_that_are_none():
    assert "nothing for run C" in check_diagnosis(1, {key: right(1)[key] for key in "AB"}).message
    assert "no name of the doctor's" in check_diagnosis(1, right(1) | {"A": "lr"}).message
    assert "is a dict" in check_diagnosis(1, "healthy").message


def test_the_solution_cures_all():
    assert check_cure(cure).passed


def everything_at_once(run):
    for layer in run.model.lora_layers.values():
        layer.reset_parameters()
    run.model.set_alpha(4)
    run.rebuild()


def without_the_doctor(run):
    for layer in run.model.lora_layers.values():
        if not layer.lora_A.any() and not layer.lora_B.any():
            torch.nn.init.normal_(layer.lora_A, std=0.1)
        if layer.scaling == 0:
            run.model.set_alpha(8)
    run.optimizer = torch.optim.Adam(run.model.trainable_parameters(), lr=0.005)


def until_it_is_well(run):
    while findings := run.doctor().findings:
        cure(run)
        assert findings
    return run


def the_start_of_pissa(run):
    """B at random and A at zero: the other convention."""
    for layer in run.model.lora_layers.values():
        with torch.no_grad():
            layer.lora_A.zero_()
            layer.lora_B.normal_(std=0.1)
    run.model.set_alpha(4)
    run.rebuild(lr=0.005)


@pytest.mark.parametrize("cured", [everything_at_once, without_the_doctor, until_it_is_well, the_start_of_pissa])
def test_unusual_cures_pass(cured):
    result = check_cure(cured)
    assert result.passed, result.message


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


def too_fast(run):
    cure(run)
    run.rebuild(lr=1.0)


def turned_off(run):
    cure(run)
    run.model.set_alpha(0)


def both_to_zero(run):
    cure(run)
    for layer in run.model.lora_layers.values():
        torch.nn.init.zeros_(layer.lora_A)


def first_finding_only(run):
    run.model.set_alpha(4) if run.doctor().findings[0].fault == "alpha_zero" else run.rebuild()


def half_of_the_factors(run):
    everything_at_once(run)
    run.optimizer = torch.optim.AdamW([layer.lora_A for layer in run.model.lora_layers.values()], lr=0.01)


@pytest.mark.parametrize("wrong, said", [
    (too_fast, "learning_rate_too_high"), (turned_off, "alpha_zero"), (both_to_zero, "both_factors_zero"),
    (first_finding_only, "IndexError"), (half_of_the_factors, "optimizer_misses"), (lambda run: run.train(), "finds"),
    (rebuilds_only, "the doctor finds both_factors_zero"), (too_slow, "still doesn't learn"),
    (does_nothing, "the doctor finds optimizer_misses_adapters"), (trains_the_base, "base_not_frozen"),
])  # fmt: skip
def test_a_wrong_cure_is_told_which_run_stays_ill(wrong, said):
    result = check_cure(wrong)
    assert result.status == "NOT YET" and said in result.message


def test_the_stub_of_the_cure_is_todo():
    assert check_cure(lambda run: TODO).status == "TODO"
