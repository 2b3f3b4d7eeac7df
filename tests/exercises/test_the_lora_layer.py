"""Notebook 02's check: layers of any make pass, and each usual mistake is told."""

import math

from lora_teach import LoRALayer
from lora_teach.exercises import TODO, check_layer

import pytest
import torch
from torch import nn
from torch.nn import functional as F


class Right(nn.Module):
    def __init__(self, in_features, out_features, rank, alpha):
        super().__init__()
        bound = in_features**-0.5
        self.lora_A = nn.Parameter(torch.empty(in_features, rank).uniform_(-bound, bound))
        self.lora_B = nn.Parameter(torch.zeros(rank, out_features))
        self.scaling = alpha / rank

    def forward(self, x):
        return self.scaling * (x @ self.lora_A @ self.lora_B)

    def delta_weight(self):
        return self.scaling * (self.lora_A @ self.lora_B).T


def made(change=lambda layer, *sizes: None, forward=None, delta_weight=None, of=Right):
    """A class whose layers are changed after they are made, or compute otherwise."""

    class MyLayer(of):
        def __init__(self, *sizes):
            super().__init__(*sizes)
            change(self, *sizes)

    if forward:
        MyLayer.forward = forward
    if delta_weight:
        MyLayer.delta_weight = delta_weight
    return MyLayer


def set_A(of):
    """A layer whose A is ``of(in_features, rank)``."""

    def change(layer, in_features, out_features, rank, alpha):
        layer.lora_A = nn.Parameter(of(in_features, rank))

    return made(change)


class Kaiming(Right):
    def __init__(self, i, o, r, alpha):
        nn.Module.__init__(self)
        self.lora_A = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(r, i), a=5**0.5).T.contiguous())
        self.lora_B = nn.Parameter(torch.zeros(r, o))
        self.register_buffer("scaling", torch.tensor(alpha / r))


class Other(Right):
    def forward(self, values):
        return F.linear(F.linear(values * self.scaling, self.lora_A.T), self.lora_B.T)

    def delta_weight(self):
        return torch.einsum("ir,ro->oi", self.lora_A, self.lora_B).mul(self.scaling).detach()


def by_weight(layer, x):
    return x @ layer.delta_weight().T


RIGHT = [
    Right, LoRALayer, Kaiming, Other, made(forward=by_weight),
    lambda i, o, r, alpha: LoRALayer(i, o, rank=r, alpha=alpha),
    set_A(lambda i, r: (torch.rand(i, r) * 2 - 1) / math.sqrt(i)),
]  # fmt: skip


@pytest.mark.parametrize("right", RIGHT)
def test_right_layers_pass(right):
    result = check_layer(right)
    assert result.passed, result.message


class Stub(nn.Module):
    def __init__(self, in_features, out_features, rank, alpha):
        super().__init__()
        self.lora_A = self.lora_B = self.scaling = TODO


@pytest.mark.parametrize(
    "stub", [Stub, TODO, made(forward=lambda layer, x: TODO), made(delta_weight=lambda layer: TODO)]
)
def test_stubs_are_todo(stub):
    assert check_layer(stub).status == "TODO"


def in_place_of(**names):
    return made(lambda layer, *sizes: [setattr(layer, name, of(layer, *sizes)) for name, of in names.items()])


def plain_tensors(layer, *sizes):
    B = layer.lora_B.detach()
    del layer.lora_B
    layer.lora_B = B


class Unborn(nn.Module):
    def __init__(self, i, o, r, alpha):
        self.lora_A = nn.Parameter(torch.zeros(i, r))


class WithLinear(Right):
    def __init__(self, i, o, r, alpha):
        super().__init__(i, o, r, alpha)
        self.linear = nn.Linear(i, o)


class Turned(Right):
    def __init__(self, i, o, r, alpha):
        super().__init__(i, o, r, alpha)
        self.lora_A = nn.Parameter(self.lora_A.detach().T.contiguous())


class Seeded(Right):
    def __init__(self, i, o, r, alpha):
        torch.manual_seed(0)
        super().__init__(i, o, r, alpha)


class AtOnce(Right):
    def __init__(self, i, o, r, alpha):
        super().__init__(i, o, r, alpha)
        self.product = (self.lora_A @ self.lora_B).detach()

    def forward(self, x):
        return self.scaling * x @ self.product


class Remembering(Right):
    def delta_weight(self):
        self.kept = self.kept if hasattr(self, "kept") else super().delta_weight().detach()
        return self.kept


def by_changing_B(layer):
    before = layer.lora_B.detach().clone()
    layer.lora_B.data.add_(1)
    return layer.scaling * (layer.lora_A @ before).T


def of(scaling):
    return in_place_of(scaling=lambda layer, i, o, r, alpha: scaling(alpha, r))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (set_A(torch.zeros), "A is zero at the start"),
        (set_A(torch.randn), "uniform within ±1/√in_features"),
        (set_A(lambda i, r: nn.init.kaiming_uniform_(torch.empty(i, r), a=5**0.5)), "takes the rank for the inputs"),
        (set_A(lambda i, r: torch.rand(i, r) / i**0.5), "uniform within"),
        (set_A(lambda i, r: torch.full((i, r), i**-0.5)), "uniform within"),
        (made(lambda layer, *s: nn.init.normal_(layer.lora_B)), "B is not zero at the start"),
        (Seeded, "without a seed"),
        (Turned, "the paper's orientation"),
        (made(plain_tensors), "lora_B is an nn.Parameter"),
        (Unborn, "raised AttributeError"),
        (WithLinear, "The frozen weight and bias stay outside"),
        (in_place_of(scaling=lambda layer, *s: nn.Parameter(torch.ones(1))), "is a fixed number here"),
        (made(lambda layer, *s: layer.lora_A.requires_grad_(False)), "it came with requires_grad=False"),
        (of(lambda alpha, r: alpha), "Divide by the rank"),
        (of(lambda alpha, r: r / alpha), "The wrong way round"),
        (of(lambda alpha, r: alpha // r), "rounded down"),
        (of(lambda alpha, r: 1.0), "The alpha was not used"),
        (of(lambda alpha, r: alpha / r**0.5), "another rule"),
        (made(forward=lambda layer, x: x @ layer.lora_A @ layer.lora_B), "The scaling is missing"),
        (made(forward=lambda layer, x: layer.scaling**2 * x @ layer.lora_A @ layer.lora_B), "there twice"),
        (made(forward=lambda layer, x: layer.scaling * torch.relu(x @ layer.lora_A) @ layer.lora_B), "between A and B"),
        (made(forward=lambda layer, x: by_weight(layer, x).detach()), "gets no gradient"),
        (made(forward=lambda layer, x: None), "came:"),
        (Remembering, "That is the update of before"),
        (made(delta_weight=by_changing_B), "delta_weight changed A or B"),
        (set_A(lambda i, r: torch.empty(i, 1).uniform_(-(i**-0.5), i**-0.5).repeat(1, r)), "multiples of each other"),
        (made(forward=lambda layer, x: x.mul_(layer.scaling) @ layer.lora_A @ layer.lora_B), "its input in place"),
        (made(forward=lambda layer, x: by_weight(layer, x.detach())), "x gets no gradient"),
        (AtOnce, "the update at the start"),
        (made(delta_weight=lambda layer: layer.scaling * layer.lora_A @ layer.lora_B), ".T"),
        (made(delta_weight=lambda layer: (layer.lora_A @ layer.lora_B).T), "The scaling is missing"),
        (made(delta_weight=lambda layer: layer.lora_A @ layer.lora_B), "The scaling is missing, and"),
        (made(delta_weight=lambda layer: layer.scaling**2 * (layer.lora_A @ layer.lora_B).T), "came in twice"),
        (lambda i, o, r, alpha: nn.Linear(i, o), "lora_A is an nn.Parameter"),
        (lambda i, o, r, alpha: None, "MyLayer is an nn.Module"),
    ],
)
def test_wrong_layers_do_not_pass(wrong, words):
    result = check_layer(wrong)
    assert result.status == "NOT YET" and words in result.message, result.message


def test_a_forward_that_adds_its_input_is_told_where_sizes_allow_it():
    def adding(layer, x):
        y = layer.scaling * (x @ layer.lora_A @ layer.lora_B)
        return x + y if x.shape == y.shape else y

    assert "The input was added" in check_layer(made(forward=adding)).message
