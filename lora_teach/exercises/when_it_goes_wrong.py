"""Checks of notebook 08: three runs whose mistake is hidden, and a cure for all of them."""

import math

from lora_teach.doctor import FAULTS
from lora_teach.exercises.check import attempt, cases, check, expect
from lora_teach.exercises.todo import finished
from lora_teach.pictures.broken_runs.numbers import MISTAKES, drawn_mistakes, new_run

HEALTHY = "healthy"
LEARNED = 0.3  # nats: a run without a mistake ends at a third of it
STILL = ("optimizer_misses_adapters", "both_factors_zero", "alpha_zero")  # their losses are the same to the last digit


def check_diagnosis(number, answers):
    """Check ``answers``, ``{"A": name of a fault or "healthy", "B": …, "C": …}``, for the runs drawn by ``number``."""
    return _check_answers(lambda: number, lambda: answers)


@check
def _check_answers(number, answers):
    answers, drawn = finished(answers()), drawn_mistakes(number())
    expect(isinstance(answers, dict), "answers is a dict: {'A': 'alpha_zero', 'B': 'healthy', 'C': …}.")
    for letter in cases("ABC"):
        expect(letter in answers, f"answers has nothing for run {letter}.")
        buttons = {name: fault for name, (_, fault) in MISTAKES.items()}
        answer, right = buttons.get(str(answers[letter]), answers[letter]), buttons[drawn[letter]]
        known = [*FAULTS, HEALTHY]
        expect(answer in known, f"{answer!r} is no name of the doctor's. Use one of the names above, or 'healthy'.")
        expect(answer == right, f"run {letter}: {answer!r} is not it. {_hint(answer, right)}")
    return f"two faults and a healthy run: {', '.join(f'{letter} {answers[letter]}' for letter in 'ABC')}."


def _hint(answer, right):
    """Say what the curve tells, not what it is."""
    if right == HEALTHY:
        return "Its loss falls to a tenth of a nat. Does the doctor find anything?"
    if right in STILL and answer in STILL:
        return "Right, nothing moves. Look on: print(run.model), the factors of run.model.lora_layers, run.optimizer."
    if right in STILL:
        return "Its loss at step 51 is that of step 1 to the last digit, since the batch is the same: nothing moves."
    if right == "learning_rate_like_full_finetuning":
        return "Its loss at step 51 is a little lower than at step 1, on the same batch: it moves."
    if right == "learning_rate_too_high":
        return "Look at its first ten losses, and then at where it ends: ln 10 is guessing."
    return "It learns, and then something keeps it from going on. Look at run.optimizer."


@check
def check_cure(cure):
    """Check ``cure(run)``, which mends a `Run` in place whatever its mistake, and lets a healthy one learn."""
    for mistake, (_, fault) in cases(list(MISTAKES.items())):
        run = new_run(mistake)
        attempt(cure, changes=("run",), run=run)
        found = [finding.fault for finding in run.doctor().findings]
        was = "a run without a mistake" if fault == HEALTHY else f"a run with {fault}"
        expect(not found, f"{was}: afterwards the doctor finds {', '.join(found)}.")
        losses = run.train()
        end = sum(losses[-10:]) / 10
        learned = math.isfinite(end) and end < LEARNED
        expect(learned, f"{was}: the doctor finds nothing, and it still doesn't learn: {end:.2f} nats at the end.")
    return f"all {len(MISTAKES)} runs learn, the healthy one too."
