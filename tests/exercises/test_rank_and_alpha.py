"""Notebook 05's checks: the reference passes, the stub is TODO, each usual mistake is told."""

from fractions import Fraction
from math import sqrt

from lora_teach import LoRALayer
from lora_teach.exercises import TODO, check_learnable_scaling, check_same_factor

import numpy as np
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


def by_layers(rule, alpha, rank, new_rank):
    """Asks the library for the factors."""
    factors = [LoRALayer(64, 64, rank=r, alpha=1, scaling=rule).scaling for r in (rank, new_rank)]
    return alpha * factors[0] / factors[1]


@pytest.mark.parametrize(
    "right",
    [
        by_layers,
        lambda law, a, r, new: torch.tensor(same_factor(law, a, r, new)),
        lambda rule, alpha, rank, new: np.float64(same_factor(rule, alpha, rank, new)),
        lambda rule, alpha, rank, new: alpha * (new / rank) ** {"alpha/r": 1, "alpha/sqrt(r)": 0.5, "alpha": 0}[rule],
        lambda rule, *given: Fraction(same_factor(rule, *given)),
        lambda rule, alpha, rank, new: np.array([alpha]) * DIVISORS[rule](new) / DIVISORS[rule](rank),
    ],
)
def test_unusual_right_alphas_pass(right):
    result = check_same_factor(right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda *given: int(same_factor(*given)), "needn't be a whole number"),
        (lambda *given: round(same_factor(*given)), "needn't be a whole number"),
        (lambda *given: same_factor("alpha/r", *given[1:]), "under α/r"),
        (lambda *given: same_factor("alpha/sqrt(r)", *given[1:]), "under α/√r"),
        (lambda rule, alpha, rank, new: alpha, "alpha unchanged"),
        (lambda *given: str(same_factor(*given)), "type str"),
        (lambda *given: same_factor(*given) + 0.01, "expected"),
        (only("alpha/sqrt(r)", lambda alpha, rank, new: alpha * new**0.5 / 8**0.5), "expected"),
        (only("alpha/sqrt(r)", lambda alpha, rank, new: 32), "expected"),
        (only("alpha", lambda alpha, rank, new: 16), "expected"),
        (only("alpha/r", lambda alpha, rank, new: 2 * new), "expected"),
        (lambda rule, rank, new, alpha: same_factor(rule, alpha, rank, new), "expected"),
    ],
)
def test_wrong_alphas_do_not_pass(wrong, words):
    result = check_same_factor(wrong)
    assert result.status == "NOT YET" and words in result.message


class OwnNames(nn.Module):
    def __init__(self, i, o, r):
        super().__init__()
        self.register_parameter("lora_A", nn.Parameter(torch.randn(i, r)))
        self.lora_B = nn.Parameter(torch.zeros(r, o))
        self.scaling = nn.Parameter(torch.tensor(1.0))  # of no dimension

    def forward(self, inputs):
        return torch.einsum("...i,ir,ro->...o", inputs, self.lora_A, self.lora_B) * self.scaling


class InFloat64(Learnable):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.double()

    def forward(self, x):
        return super().forward(x.double())


def functional(layer, x):
    return nn.functional.linear(nn.functional.linear(x, layer.lora_A.T), layer.scaling * layer.lora_B.T)


def library(in_features, out_features, rank):
    return LoRALayer(in_features, out_features, rank, learnable_scaling=True)


@pytest.mark.parametrize(
    "right",
    [
        OwnNames,
        InFloat64,
        forwarding(functional),
        library,
        beginning(lambda layer: nn.init.kaiming_uniform_(layer.lora_A)),
        starting(lambda: nn.Parameter(torch.ones(()))),
        starting(lambda: nn.Parameter(torch.ones(1, 1))),
    ],
)
def test_unusual_right_layers_pass(right):
    result = check_learnable_scaling(right)
    assert result.passed, result.message


def frozen(name):
    return beginning(lambda layer: getattr(layer, name).requires_grad_(False))


def seeded(in_features, out_features, rank):
    torch.manual_seed(0)
    return Learnable(in_features, out_features, rank)


def plainly(change):
    return forwarding(lambda layer, x: change(x, layer.lora_A, layer.lora_B, layer.scaling))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (plainly(lambda x, A, B, s: s * (x @ A.data @ B)), "lora_A gets no gradient"),
        (plainly(lambda x, A, B, s: s * (x @ A @ B.detach())), "lora_B gets no gradient"),
        (plainly(lambda x, A, B, s: s * (x @ A @ B).detach()), "gets no gradient"),
        (plainly(torch.no_grad()(lambda x, A, B, s: s * (x @ A @ B))), "the output gets no gradient"),
        (frozen("lora_A"), "lora_A has requires_grad=False"),
        (frozen("lora_B"), "lora_B has requires_grad=False"),
        (seeded, "draw it anew"),
        (beginning(lambda layer: layer.lora_A.fill_(0.5)), "draw it anew"),
        (plainly(lambda x, A, B, s: s * (x.mul_(2) @ A @ B) / 2), "forward changed its input"),
        (plainly(lambda x, A, B, s: s * (x @ A @ B).mean(0)), "The shape is"),
        (plainly(lambda x, A, B, s: s * torch.mm(x, A).mm(B)), "RuntimeError"),  # two dimensions only
        (plainly(lambda x, A, B, s: s * (x @ A @ B) + s - 1), "came"),
        (plainly(lambda x, A, B, s: s.abs() * (x @ A @ B)), "scaling -1.5"),
        (plainly(lambda x, A, B, s: s * torch.dropout(x, 0.5, True) @ A @ B), "came"),
        (plainly(lambda x, A, B, s: s / 2 * (x @ A @ B) * A.shape[1]), "came"),
        (plainly(lambda x, A, B, s: s.detach() * (x @ A @ B) + 0 * s), "the gradient of scaling"),
    ],
)
def test_wrong_layers_do_not_pass(wrong, words):
    result = check_learnable_scaling(wrong)
    assert result.status == "NOT YET" and words in result.message
