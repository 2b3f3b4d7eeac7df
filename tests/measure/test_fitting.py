"""A LoRA layer learns a matrix from random x and x times the matrix."""

from lora_teach import LoRALayer, train
from lora_teach.datasets.photo import centred_pagoda
from lora_teach.measure import energy_lost, truncate
from lora_teach.measure.fitting import LR, examples, falling, fit_in_place, fresh_layer

import pytest
import torch


@pytest.fixture(scope="module")
def target():
    return centred_pagoda()


@pytest.fixture(scope="module")
def batches(target):
    return examples(target)


@pytest.mark.parametrize("options", [{"rank": 4}, {"rank": 3, "alpha": 6}])
def test_the_run_is_the_librarys_step_for_step(target, batches, options):
    layers = []
    for _ in range(2):
        torch.manual_seed(3)
        layers.append(LoRALayer(96, 96, **options))
    fit = fit_in_place(layers[0], batches, steps=60)
    train(layers[1], batches, torch.nn.functional.mse_loss, lr=LR, steps=60, schedule=falling, progress=False)
    for mine, its in zip(layers[0].parameters(), layers[1].parameters(), strict=True):
        assert torch.allclose(mine, its, rtol=1e-4, atol=1e-5)
    assert torch.equal(fit.A[-1], layers[0].lora_A) and torch.equal(fit.B[-1], layers[0].lora_B)
    assert torch.equal(fit.product(60), layers[0].scaling * layers[0].lora_A @ layers[0].lora_B)


@pytest.mark.parametrize("rank", [1, 2, 4, 8, 16, 32])
def test_gradient_descent_finds_what_the_svd_would_have_cut(target, batches, rank):
    fit = fit_in_place(fresh_layer(target, rank), batches)
    loss, floor = fit.loss(target), energy_lost(target)[rank]
    assert loss[0] == pytest.approx(1.0, abs=1e-9)
    assert floor <= loss[-1] < floor + 0.005  # half a percentage point
    best = truncate(target, rank)
    apart = (fit.product(-1) - best).square().sum() / best.square().sum()
    assert apart < 0.03  # the same matrix, not merely an equally good one


@pytest.mark.parametrize("rank", [4, 8, 16])
def test_the_large_outer_products_come_first(target, batches, rank):
    fit = fit_in_place(fresh_layer(target, rank), batches)
    U, sigma, Vh = torch.linalg.svd(target)
    learnt = (U.T @ fit.product(10) @ Vh.T).diagonal()[:rank] / sigma[:rank]  # the share of each after 10 steps
    assert learnt[:2].min() > 0.8
    assert learnt[2:].max() < 0.5
    assert learnt[rank // 2 :].mean() < 0.2


def test_the_loss_is_the_squared_error_of_the_product_and_that_of_many_inputs(target, batches):
    torch.manual_seed(0)
    fit = fit_in_place(LoRALayer(96, 96, rank=3, alpha=6), batches, steps=20)
    for step in (0, 7, 20):
        error = (fit.product(step) - target).double()
        share = error.square().sum() / target.double().square().sum()
        assert fit.loss(target)[step] == pytest.approx(share.item(), rel=1e-5)
        x, y = (torch.cat(parts) for parts in zip(*examples(target, seed=1), strict=True))
        seen = (x @ fit.product(step) - y).square().sum() / y.square().sum()
        assert seen.item() == pytest.approx(share.item(), rel=0.05)


def test_the_layer_sees_x_and_its_product_only(target):
    (x, y), *_ = examples(target, batches=2, batch_size=5)
    assert x.shape == y.shape == (5, 96)
    assert torch.allclose(y, x @ target, atol=1e-5)
    wide = torch.ones(4, 6)
    ((x, y),) = examples(wide, batches=1, batch_size=3)
    assert x.shape == (3, 4) and y.shape == (3, 6)


def test_a_run_starts_where_the_layer_stands_and_moves_it(target, batches):
    layer = fresh_layer(target, 2)
    A = layer.lora_A.detach().clone()
    fit = fit_in_place(layer, batches, steps=3)
    assert torch.equal(fit.A[0], A) and torch.equal(fit.B[0], torch.zeros(2, 96))
    assert not torch.equal(layer.lora_A, A)
    assert fit.A.shape == (4, 96, 2) and fit.B.shape == (4, 2, 96)
    assert layer.lora_A.grad is None


def test_drawing_x_and_the_start_leaves_the_global_random_numbers_alone(target):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fresh_layer(target, 2, seed=1)
    examples(target, batches=1, seed=2)
    assert torch.equal(torch.rand(1), expected)
    assert not torch.equal(fresh_layer(target, 2, seed=1).lora_A, fresh_layer(target, 2, seed=2).lora_A)


@pytest.mark.parametrize("options", [{"dropout": 0.1}, {"learnable_scaling": True}])
def test_a_layer_whose_gradients_are_others_is_refused(target, batches, options):
    with pytest.raises(ValueError, match="Use train"):
        fit_in_place(LoRALayer(96, 96, rank=2, **options), batches, steps=1)


def test_a_run_that_becomes_infinite_is_refused(target, batches):
    with pytest.raises(ValueError, match="became infinite at lr=1e\\+30"):
        fit_in_place(fresh_layer(target, 2), batches, steps=5, lr=1e30)
