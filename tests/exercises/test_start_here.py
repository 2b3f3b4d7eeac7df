"""Notebook 00's check: right dials of any kind pass, and each usual mistake is told."""

from copy import deepcopy

from lora_teach.bases import sample_names
from lora_teach.exercises import TODO, check_dial
from lora_teach.exercises.ready_made import dial as of_the_library

import pytest
import torch


def dialling(added, back=True):
    """A dial that adds ``added(A, B, strength)`` to each weight."""

    def dial(model, updates, strength, noise):
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        with torch.no_grad():
            for path, (A, B) in updates.items():
                weight = model.get_submodule(path).weight
                update = added(A, B, strength)
                weight += update if update.shape == weight.shape else update.T
        written = sample_names(model, noise)
        if back:
            model.load_state_dict(before)
        return written

    return dial


solution = dialling(lambda A, B, strength: strength * (A @ B).T)


def on_a_copy(model, updates, strength, noise):
    changed = deepcopy(model)
    for path, (A, B) in updates.items():
        changed.get_submodule(path).weight.data.add_(torch.einsum("ir,ro->oi", A, B), alpha=strength)
    return tuple(sample_names(changed, noise))


def by_hooks(model, updates, strength, noise):
    handles = [
        model.get_submodule(path).register_forward_hook(lambda m, x, y, A=A, B=B: y + strength * x[0] @ A @ B)
        for path, (A, B) in updates.items()
    ]
    names = sample_names(model, noise)
    for handle in handles:
        handle.remove()
    return names


def with_new_parameters(model, updates, strength, noise):
    old = {path: model.get_submodule(path).weight for path in updates}
    for path, (A, B) in updates.items():
        model.get_submodule(path).weight = torch.nn.Parameter(old[path] + strength * (A @ B).T)
    names = sample_names(model, noise)
    for path, weight in old.items():
        model.get_submodule(path).weight = weight
    return names


@pytest.mark.parametrize(
    "right",
    [
        solution, on_a_copy, by_hooks, with_new_parameters, of_the_library,
        dialling(lambda A, B, s: (A * s @ B).T), dialling(lambda A, B, s: B.T @ A.T * s),
    ],
)  # fmt: skip
def test_right_dials_pass(right):
    result = check_dial(right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    "stub", [TODO, lambda model, updates, strength, noise: TODO, dialling(lambda A, B, s: TODO * s)]
)
def test_stubs_are_todo(stub):
    assert check_dial(stub).status == "TODO"


def by_subtraction(model, updates, strength, noise):
    for sign in (1, -1):
        names = sample_names(model, noise) if sign == -1 else None
        for path, (A, B) in updates.items():
            model.get_submodule(path).weight.data += sign * strength * (A @ B).T
    return names


def only_the_first(model, updates, strength, noise):
    path = next(iter(updates))
    return solution(model, {path: updates[path]}, strength, noise)


def added_to_nothing(model, updates, strength, noise):
    for path, (A, B) in updates.items():
        model.get_submodule(path).weight + strength * (A @ B).T
    return sample_names(model, noise)


def hooks_left(model, updates, strength, noise):
    for path, (A, B) in updates.items():
        model.get_submodule(path).register_forward_hook(lambda m, x, y, A=A, B=B: y + strength * x[0] @ A @ B)
    return sample_names(model, noise)


def putting_back_others(model, updates, strength, noise):
    names = with_new_parameters(model, updates, strength, noise)
    for path in updates:
        module = model.get_submodule(path)
        module.weight = torch.nn.Parameter(module.weight.detach().clone())
    return names


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (dialling(lambda A, B, s: (A @ B).T), "multiply the update by the strength"),
        (dialling(lambda A, B, s: s * A @ B), "add (A @ B).T"),
        (dialling(lambda A, B, s: -s * (A @ B).T), "was subtracted"),
        (dialling(lambda A, B, s: s * s * (A @ B).T), "The strength is there twice"),
        (dialling(lambda A, B, s: 2 * s * (A @ B).T), "The update is there twice"),
        (added_to_nothing, "the names of the model alone"),
        (only_the_first, "Only one layer was changed"),
        (dialling(lambda A, B, s: s * (A @ B).T, back=False), "still in the weights"),
        (by_subtraction, "what is subtracted was rounded"),
        (hooks_left, "is a hook left on it?"),
        (lambda *given: solution(*given) and None, "came: None"),
        (putting_back_others, "each weight is the nn.Parameter that it was"),
        (lambda model, *given: solution(model.train(), *given), "and so are train() and eval()"),
        (lambda model, *given: solution(model.requires_grad_(False), *given), "the requires_grad that it had"),
        (lambda *given: " ".join(solution(*given)), "12 names"),
        (dialling(lambda A, B, s: s * A * B), "raised"),
    ],
)  # fmt: skip
def test_usual_mistakes_are_named(mistake, words):
    result = check_dial(mistake)
    assert result.status == "NOT YET" and words in result.message, result.message
