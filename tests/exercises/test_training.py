from lora_teach import training_steps
from lora_teach.bases import evaluate, name_loss
from lora_teach.datasets import names
from lora_teach.exercises import TODO, check_best_strength, check_gradient_of_A, check_gradient_of_B

import pytest
import torch


def gradient_of_B(x, A, grad_output, scaling):
    return (scaling * x @ A).T @ grad_output


def gradient_of_A(x, B, grad_output, scaling):
    return scaling * x.T @ (grad_output @ B.T)


def best_strength(model, new, old, limit):
    allowed = {}
    for strength in [step / 10 for step in range(11)]:
        model.set_adapter({"default": strength})
        if evaluate(model, old) <= limit:
            allowed[strength] = evaluate(model, new)
    return min(allowed, key=allowed.get)


def test_right_gradients_pass():
    assert check_gradient_of_B(gradient_of_B).passed
    result = check_gradient_of_A(gradient_of_A)
    assert result.passed and "exactly zero" in result.message


def test_blanks_are_todo():
    def unfinished(x, A, grad_output, scaling):
        h = TODO
        return h.T @ grad_output

    assert check_gradient_of_B(unfinished).status == "TODO"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda x, A, G, s: (x @ A).T @ G, "The scaling is lost"),
        (lambda x, A, G, s: s * s * (x @ A).T @ G, "The scaling is there twice"),
        (lambda x, A, G, s: torch.zeros(A.shape[1], G.shape[1]), "Also zero"),
        (lambda x, A, G, s: 0, "Also zero"),
        (lambda x, A, G, s: s * (x @ A).T @ G / len(x), "divided by the batch's size"),
        (lambda x, A, G, s: s * G.T @ (x @ A), "transposed"),
        (lambda x, A, G, s: s * A.T @ G, "raised RuntimeError"),
        (lambda x, A, G, s: None, "is a return missing"),
    ],
)
def test_usual_mistakes_with_the_gradient_of_B(wrong, words):
    result = check_gradient_of_B(wrong)
    assert result.status == "NOT YET" and words in result.message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda x, B, G, s: x.T @ (G @ B.T), "The scaling is lost"),
        (lambda x, B, G, s: torch.zeros(x.shape[1], B.shape[0]), "here B is not"),
        (lambda x, B, G, s: 0.0, "here B is not"),
        (lambda x, B, G, s: (s * x.T @ (G @ B.T)).T, "transposed"),
        (lambda x, B, G, s: s * x.T @ G, "The shape is"),
    ],
)
def test_usual_mistakes_with_the_gradient_of_A(wrong, words):
    result = check_gradient_of_A(wrong)
    assert result.status == "NOT YET" and words in result.message


def test_the_right_strength_passes_whatever_strength_it_leaves():
    assert check_best_strength(best_strength).passed


def retrained(model, new, old, limit):
    for _ in training_steps(model, names.batches(old), name_loss, lr=1e-3, steps=2):
        pass
    return 1.0


def loss_in_place_of_strength(model, new, old, limit):
    model.set_adapter({"default": best_strength(model, new, old, limit)})
    return evaluate(model, new)


def the_greatest_allowed(model, new, old, limit):
    allowed = []
    for strength in [step / 10 for step in range(11)]:
        model.set_adapter({"default": strength})
        if evaluate(model, old) <= limit:
            allowed.append(strength)
    return max(allowed)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (retrained, "its parameters should stay"),
        (the_greatest_allowed, "compare the losses on `new`"),
        (lambda model, new, old, limit: 0, "forgets nothing, and has learned nothing"),
        (lambda model, new, old, limit: 0.1, "a greater strength would be too"),
        (lambda model, new, old, limit: 1.0, "There `old` is above the limit"),
        (loss_in_place_of_strength, "return the strength"),
        (lambda model, new, old, limit: None, "expected: a strength"),
        (lambda model, new, old, limit: float("nan"), "expected: a strength"),
    ],
)
def test_usual_mistakes_with_the_strength(wrong, words):
    result = check_best_strength(wrong)
    assert result.status == "NOT YET" and words in result.message
