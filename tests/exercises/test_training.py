from fractions import Fraction

from lora_teach import training_steps
from lora_teach.bases import evaluate, name_loss
from lora_teach.datasets import names
from lora_teach.exercises import TODO, check_best_strength, check_gradient_of_A, check_gradient_of_B
from lora_teach.measure.strength import strength_path

import numpy as np
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


def by_autograd(x, A, grad_output, scaling):
    B = torch.zeros(A.shape[1], grad_output.shape[1], requires_grad=True)
    return torch.autograd.grad(scaling * x @ A @ B, B, grad_output)[0]


def row_by_row(x, A, grad_output, scaling):
    return scaling * sum(torch.outer(row @ A, g) for row, g in zip(x, grad_output, strict=True))


@pytest.mark.parametrize(
    "right",
    [
        by_autograd,
        row_by_row,
        lambda x, A, G, s: torch.einsum("bi,ir,bo->ro", x, A, G) * s,
        lambda x, A, G, s: (x.numpy() @ A.numpy()).T @ G.numpy() * s,
        lambda inputs, first, upstream, factor: factor * first.mT.double() @ inputs.mT.double() @ upstream.double(),
        lambda x, A, G, s: (s * A.T @ x.T @ G).tolist(),
    ],
)
def test_unusual_right_gradients_of_B_pass(right):
    result = check_gradient_of_B(right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda x, A, G, s: 1.5 * (x @ A).T @ G, "another number now"),
        (lambda x, A, G, s: (x.mul_(s) @ A).T @ G, "changed its input x in place"),
        (lambda x, A, G, s: -s * (x @ A).T @ G, "-1 times"),
        (lambda x, A, G, s: s * (x @ A).T @ G.sign(), "differ most"),
        (lambda x, A, G, s: s * (x @ A)[:1].T @ G[:1], "differ most"),
        (lambda x, A, G, s: s / A.shape[1] * (x @ A).T @ G, "expected"),
        (lambda x, A, G, s: torch.randn(A.shape[1], G.shape[1]), "differ most"),
        (lambda x, A, G, s: s * x.T @ G, "The shape is"),
        (lambda x, A, G, s: (s * (x @ A).T @ G).sum(), "The shape is ()"),
    ],
)
def test_wrong_gradients_of_B_do_not_pass(wrong, words):
    result = check_gradient_of_B(wrong)
    assert result.status == "NOT YET" and words in result.message


def A_by_autograd(x, B, grad_output, scaling):
    A = torch.ones(x.shape[1], len(B), requires_grad=True)
    (scaling * x @ A @ B).backward(grad_output)
    return A.grad


@pytest.mark.parametrize(
    "right",
    [
        A_by_autograd,
        lambda x, B, G, s: torch.einsum("bi,ro,bo->ir", x, B, G) * s,
        lambda x, B, G, s: s * (x.numpy().T @ (G.numpy() @ B.numpy().T)),
        lambda x, B, G, s: (B.double() @ G.double().T @ x.double()).T * s,
        lambda inputs, second, upstream, factor: inputs.T @ (factor * upstream) @ second.T,
        lambda x, B, G, s: sum(s * torch.outer(row, B @ g) for row, g in zip(x, G, strict=True)),
    ],
)
def test_unusual_right_gradients_of_A_pass(right):
    result = check_gradient_of_A(right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda x, B, G, s: 1.5 * x.T @ (G @ B.T), "another number now"),
        (lambda x, B, G, s: s * s * x.T @ (G @ B.T), "there twice"),
        (lambda x, B, G, s: s * x.T @ (G @ B.T) / len(x), "batch's size"),
        (lambda x, B, G, s: x.T @ (G.mul_(s) @ B.T), "changed its input grad_output in place"),
        (lambda x, B, G, s: -s * x.T @ (G @ B.T), "-1 times"),
        (lambda x, B, G, s: s * x.T @ (G @ torch.linalg.pinv(B)), "differ most"),
        (lambda x, B, G, s: s * x.T @ (G @ B.T).relu(), "differ most"),
        (lambda x, B, G, s: s * x[:1].T @ (G[:1] @ B.T), "differ most"),
        (lambda x, B, G, s: s * x.T @ (G @ B.T) + (not B.any()), "where B = 0"),
        (lambda x, B, G, s: [s * x.T, G @ B.T], "expected"),
        (lambda x, B, G, s: s * x.T @ (G @ B), "code raised"),
    ],
)
def test_wrong_gradients_of_A_do_not_pass(wrong, words):
    result = check_gradient_of_A(wrong)
    assert result.status == "NOT YET" and words in result.message


def tidying(model, new, old, limit):
    best = best_strength(model, new, old, limit)
    model.set_adapter(None)
    return best


def finer(model, new, old, limit):
    path = strength_path(model, [step / 20 for step in range(21)], new, old)
    return min((loss, step / 20) for step, (loss, forgotten) in enumerate(path) if forgotten <= limit)[1]


def removing(model, new, old, limit):
    best = best_strength(model, new, old, limit)
    model.remove()
    return best


@pytest.mark.parametrize(
    "right",
    [
        tidying,
        finer,
        lambda *given: Fraction(round(10 * best_strength(*given)), 10),
        lambda *given: torch.tensor(best_strength(*given)),
        lambda m, wanted, kept, most: np.float32(best_strength(m, wanted, kept, most)),
    ],
)
def test_unusual_right_strengths_pass(right):
    result = check_best_strength(right)
    assert result.passed, result.message


def over(strengths):
    def searched(model, new, old, limit):
        path = zip(strength_path(model, strengths, new, old), strengths, strict=True)
        return min((loss, strength) for (loss, forgotten), strength in path if forgotten <= limit)[1]

    return searched


@pytest.mark.parametrize(
    "wrong",
    [
        over([step / 10 for step in range(6)]),  # half the range
        over([step / 10 for step in range(8)]),
        over([0, 0.5, 1]),
        lambda model, new, old, limit: 0.6,
        lambda model, new, old, limit: {3.1: 0.6, 2.43: 0.3, 3.51: 0.8}.get(limit, 1.0),
        lambda model, new, old, limit: best_strength(model, new, old, limit) * 10,
        lambda model, new, old, limit: best_strength(model, new, old, 9.0),  # ignores the limit
        lambda model, new, old, limit: best_strength(model, old, new, limit),
        lambda model, new, old, limit: str(best_strength(model, new, old, limit)),
        lambda model, new, old, limit: best_strength(model, new, old, limit) + 0.1,
        lambda model, new, old, limit: best_strength(model, new, old, limit) - 0.1,
        lambda model, new, old, limit: best_strength(model, new, old, limit) if new.clear() else 0.6,
        removing,
        lambda model, new, old, limit: True,
        lambda model, new, old, limit: -1.0,
    ],
)
def test_wrong_strengths_do_not_pass(wrong):
    assert check_best_strength(wrong).status == "NOT YET"
