"""Notebook 05's checks: the reference passes, the stub is TODO, each usual mistake is told."""

from math import sqrt

from lora_teach.exercises import TODO, check_learnable_scaling, check_same_factor

import pytest
import torch
from torch import nn

DIVISORS = {"alpha/r": lambda rank: rank, "alpha/sqrt(r)": sqrt, "alpha": lambda rank: 1}


def same_factor(rule, alpha, rank, new_rank):
    return alpha * DIVISORS[rule](new_rank) / DIVISORS[rule](rank)


def only(rule, wrong):
    """The right function, but for one rule."""
    return lambda asked, *rest: wrong(*rest) if asked == rule else same_factor(asked, *rest)


def test_the_alpha_that_keeps_the_factor_passes():
    assert check_same_factor(same_factor).passed


def test_blanks_are_todo():
    assert check_same_factor(only("alpha/sqrt(r)", lambda alpha, rank, new_rank: TODO)).status == "TODO"
    assert check_same_factor(only("alpha", lambda alpha, rank, new_rank: ...)).status == "TODO"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (only("alpha/r", lambda alpha, rank, new: alpha), "alpha unchanged"),
        (only("alpha/r", lambda alpha, rank, new: alpha * sqrt(new / rank)), "under α/√r"),
        (only("alpha/r", lambda alpha, rank, new: alpha * rank / new), "Upside down"),
        (only("alpha/r", lambda alpha, rank, new: alpha / rank), "That is the factor"),
        (only("alpha/r", lambda alpha, rank, new: 2 * new if new > rank else 0), "expected"),  # right once, by habit
        (only("alpha/sqrt(r)", lambda alpha, rank, new: alpha), "root of the ranks' ratio"),
        (only("alpha/sqrt(r)", lambda alpha, rank, new: alpha * new / rank), "under α/r"),
        (only("alpha/sqrt(r)", lambda alpha, rank, new: alpha * sqrt(rank / new)), "Upside down"),
        (only("alpha/sqrt(r)", lambda alpha, rank, new: alpha * sqrt(new)), "The old rank has a root as well"),
        (only("alpha", lambda alpha, rank, new: alpha * new / rank), "No rank divides a constant"),
        (only("alpha", lambda alpha, rank, new: alpha * sqrt(new / rank)), "No rank divides a constant"),
        (only("alpha", lambda alpha, rank, new: None), "is a return missing"),
    ],
)
def test_each_usual_mistake_with_the_alpha_is_told(wrong, words):
    result = check_same_factor(wrong)
    assert result.status == "NOT YET" and words in result.message


class Learnable(nn.Module):
    def __init__(self, in_features, out_features, rank=4):
        super().__init__()
        bound = in_features**-0.5
        self.lora_A = nn.Parameter(torch.empty(in_features, rank).uniform_(-bound, bound))
        self.lora_B = nn.Parameter(torch.zeros(rank, out_features))
        self.scaling = self.start()

    def start(self):
        return nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.scaling * (x @ self.lora_A @ self.lora_B)


def starting(make):
    """The right layer, but for how its scaling starts."""
    return type("Wrong", (Learnable,), {"start": lambda self: make()})


def forwarding(forward):
    """The right layer, but for its forward."""
    return type("Wrong", (Learnable,), {"forward": forward})


def beginning(change):
    """The right layer, changed when it is made."""

    class Wrong(Learnable):
        def __init__(self, *sizes, **named):
            super().__init__(*sizes, **named)
            with torch.no_grad():
                change(self)

    return Wrong


def update(layer, x):
    return x @ layer.lora_A @ layer.lora_B


def test_a_learnable_scaling_passes_and_is_told_when_it_wakes():
    result = check_learnable_scaling(Learnable)
    assert result.passed and "exactly zero" in result.message


def test_the_stub_is_todo():
    assert check_learnable_scaling(starting(lambda: TODO)).status == "TODO"
    assert check_learnable_scaling(forwarding(lambda layer, x: TODO)).status == "TODO"


def test_a_scaling_that_is_done_beside_an_A_that_is_not_is_todo():
    class Begun(nn.Module):
        def __init__(self, in_features, out_features, rank=4):
            super().__init__()
            self.lora_B = nn.Parameter(torch.zeros(rank, out_features))
            self.lora_A = TODO
            self.scaling = nn.Parameter(torch.ones(1))

    assert check_learnable_scaling(Begun).status == "TODO"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (starting(lambda: 1.0), "float, not an nn.Parameter"),
        (starting(lambda: torch.ones(1)), "tensor, not an nn.Parameter"),
        (starting(lambda: torch.ones(1, requires_grad=True)), "the optimiser is never given it"),
        (starting(lambda: nn.Parameter(torch.ones(1), requires_grad=False)), "requires_grad=False"),
        (starting(lambda: nn.Parameter(torch.ones(4))), "expected: (1,)"),
        (starting(lambda: nn.Parameter(torch.full((1,), 0.01))), "at the start"),
        (starting(lambda: nn.Parameter(torch.zeros(1))), "at the start"),
        (starting(lambda: None), "no attribute"),
        (forwarding(update), "missing from forward"),
        (forwarding(lambda layer, x: layer.scaling**2 * update(layer, x)), "twice"),
        (forwarding(lambda layer, x: layer.scaling / 2 * update(layer, x)), "Divided by the rank"),
        (forwarding(lambda layer, x: update(layer, x) / layer.scaling), "Divided by the scaling"),
        (forwarding(lambda layer, x: layer.scaling.item() * update(layer, x)), "cuts it off"),
        (forwarding(lambda layer, x: layer.scaling.detach() * update(layer, x)), "cuts it off"),
        (forwarding(lambda layer, x: None), "is a return missing"),
        (beginning(lambda layer: layer.lora_B.normal_()), "lora_B starts at something else"),
        (beginning(lambda layer: layer.lora_A.zero_()), "lora_A starts at zero"),
        (lambda in_features, out_features, rank: Learnable(out_features, in_features, rank), "expected: (6, 2)"),
        (lambda in_features, out_features, rank: update, "no nn.Module"),
    ],
)
def test_each_usual_mistake_with_the_scaling_is_told(wrong, words):
    result = check_learnable_scaling(wrong)
    assert result.status == "NOT YET" and words in result.message


def test_a_scaling_that_is_kept_in_a_list_is_not_given_to_the_optimiser():
    class Hidden(Learnable):
        scaling = property(lambda self: self.kept[0], lambda self, value: None)

        def start(self):
            self.kept = [nn.Parameter(torch.ones(1))]

    result = check_learnable_scaling(Hidden)
    assert result.status == "NOT YET" and "not among layer.parameters()" in result.message


def test_the_callers_random_numbers_stay_as_they_are():
    state = torch.get_rng_state()
    check_learnable_scaling(Learnable)
    assert torch.equal(torch.get_rng_state(), state)
