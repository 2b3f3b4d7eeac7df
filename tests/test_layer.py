"""The LoRA layer by itself."""

import math
from fractions import Fraction

from lora_teach import LoRALayer
from lora_teach.layer import VARIANTS, register_variant
from tests.toy import fixed, numbers

import numpy as np
import pytest
import torch
from torch import nn


def by_hand(layer, x):
    return torch.as_tensor(layer.scaling).item() * (x @ layer.lora_A.to(x.dtype) @ layer.lora_B.to(x.dtype))


def test_shapes_are_the_articles():
    layer = LoRALayer(6, 4, rank=3)
    assert layer.lora_A.shape == (6, 3)
    assert layer.lora_B.shape == (3, 4)
    assert layer.delta_weight().shape == (4, 6)
    assert layer(numbers(2, 5, 6)).shape == (2, 5, 4)


def test_rank_is_4_and_scaling_1_unless_told_otherwise():
    layer = LoRALayer(9, 7)
    assert (layer.rank, layer.alpha, layer.scaling) == (4, 4, 1.0)
    assert LoRALayer(9, 7, rank=2).scaling == 1.0


def test_lora_b_starts_at_zero_so_a_new_layer_changes_nothing():
    layer = LoRALayer(6, 4)
    assert not layer.lora_B.any()
    x, base_output = numbers(3, 6), numbers(3, 4)
    assert not layer(x).any()
    assert torch.equal(layer(x, base_output), base_output)
    assert not layer.delta_weight().any()


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_a_is_uniform_within_one_over_root_in_features_whatever_the_rank(rank):
    torch.manual_seed(0)
    a = LoRALayer(400, 400, rank=rank).lora_A
    bound = 1 / math.sqrt(400)
    assert a.abs().max() <= bound
    assert a.abs().max() > 0.97 * bound
    assert abs(a.std().item() / (bound / math.sqrt(3)) - 1) < 0.12
    with torch.no_grad():
        mistake = nn.init.kaiming_uniform_(torch.empty(400, rank), a=math.sqrt(5))
    assert mistake.abs().max() > 2 * bound  # 1/√rank in this orientation


def test_randn_draws_a_standard_normal():
    torch.manual_seed(0)
    assert abs(LoRALayer(500, 20, rank=20, init="randn").lora_A.std().item() - 1) < 0.05


def test_uniform_b_draws_b_in_one_over_root_rank_and_a_is_zero():
    layer = LoRALayer(500, 300, rank=100, init="uniform_B")
    for _ in range(2):
        assert not layer.lora_A.any() and layer.is_zero()
        assert 0.99 / 10 < layer.lora_B.abs().max() <= 1 / 10  # ±1/√rank
        assert abs(layer.lora_B.std().item() * 30**0.5 * 10**0.5 - 1) < 0.05
        fixed(layer).reset_parameters()


def test_a_rank_beyond_the_layers_sizes_is_refused():
    for sizes in ((8, 4), (4, 8)):
        with pytest.raises(ValueError, match=rf"rank=5 is too large for Linear\({sizes[0]} → {sizes[1]}\).*1\.\.4"):
            LoRALayer(*sizes, rank=5)


def test_reset_parameters_makes_the_update_zero_again():
    layer = fixed(LoRALayer(6, 4))
    before = layer.lora_A.clone()
    layer.reset_parameters()
    assert not torch.equal(layer.lora_A, before)
    assert not layer.lora_B.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 5, 6), (2, 3, 5, 6), (0, 6), (2, 0, 6), (0, 3, 6), (1, 6)])
@pytest.mark.parametrize("learnable", [False, True])
def test_forward_is_scaling_times_x_a_b_for_every_shape(dtype, shape, learnable):
    layer = fixed(LoRALayer(6, 4, rank=2, alpha=3, learnable_scaling=learnable, dtype=dtype))
    x, base_output = numbers(*shape, dtype=dtype), numbers(*shape[:-1], 4, dtype=dtype, seed=9)
    close = {"atol": 1e-12 if dtype == torch.float64 else 1e-5}
    assert layer(x).shape == base_output.shape
    assert torch.allclose(layer(x), by_hand(layer, x), **close)
    assert torch.allclose(layer(x, base_output), base_output + by_hand(layer, x), **close)
    assert torch.allclose(layer(x), x @ layer.delta_weight().T, **close)


def test_inputs_that_are_not_contiguous_give_the_same():
    layer = fixed(LoRALayer(6, 4, rank=2))
    x, base_output = numbers(6, 5, 3).transpose(0, 2), numbers(4, 5, 3, seed=9).transpose(0, 2)
    assert not x.is_contiguous()
    assert torch.allclose(layer(x), layer(x.contiguous()))
    assert torch.allclose(layer(x, base_output), layer(x.contiguous(), base_output.contiguous()))
    every_other = numbers(4, 12)[:, ::2]
    assert torch.allclose(layer(every_other), layer(every_other.contiguous()))
    expanded, output = numbers(1, 6).expand(3, 6), numbers(1, 4).expand(3, 4)
    assert torch.allclose(layer(expanded, output), output + layer(expanded))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_inputs_give_each_rows_own_update():
    layer = fixed(LoRALayer(6, 4, rank=2, learnable_scaling=True))
    rows, outputs = [numbers(2, 6), numbers(5, 6)], [numbers(2, 4), numbers(5, 4)]
    x, base_output = torch.nested.nested_tensor(rows), torch.nested.nested_tensor(outputs)
    for row, output, got in zip(rows, outputs, layer(x, base_output).unbind(), strict=True):
        assert torch.allclose(got, layer(row, output), atol=1e-6)
    for row, got in zip(rows, layer(x).unbind(), strict=True):
        assert torch.allclose(got, layer(row), atol=1e-6)


@pytest.mark.parametrize(
    ("scaling", "expected"), [("alpha/r", 6 / 4), ("alpha/sqrt(r)", 6 / math.sqrt(4)), ("alpha", 6.0)]
)
def test_the_three_scaling_rules(scaling, expected):
    layer = fixed(LoRALayer(6, 5, rank=4, alpha=6, scaling=scaling))
    assert layer.scaling == expected
    layer.set_alpha(3)
    assert (layer.alpha, layer.scaling) == (3, expected / 2)
    learnable = LoRALayer(6, 5, rank=4, alpha=6, scaling=scaling, learnable_scaling=True)
    assert learnable.scaling.shape == (1,)
    assert learnable.scaling.item() == pytest.approx(expected)


def test_the_articles_constant_scaling():
    layer = fixed(LoRALayer(6, 5, alpha=0.01, scaling="alpha"))
    assert layer.scaling == 0.01
    x = numbers(2, 6)
    assert torch.allclose(layer(x), 0.01 * (x @ layer.lora_A @ layer.lora_B))


def test_a_learnable_scaling_has_the_gradient_of_the_formula():
    layer = fixed(LoRALayer(6, 4, rank=2, alpha=3, learnable_scaling=True, dtype=torch.float64))
    x = numbers(5, 6, dtype=torch.float64)
    for base_output in (None, numbers(5, 4, dtype=torch.float64)):
        layer.zero_grad()
        layer(x, base_output).sum().backward()
        assert layer.scaling.grad.item() == pytest.approx((x @ layer.lora_A @ layer.lora_B).sum().item(), rel=1e-12)
    assert torch.autograd.gradcheck(lambda *p: _with(layer, p, x), (layer.lora_A, layer.lora_B, layer.scaling))


def _with(layer, parameters, x):
    names = ("lora_A", "lora_B", "scaling")
    return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))


def test_set_alpha_sets_a_learnable_scaling_in_place_and_it_learns_on():
    layer = LoRALayer(6, 4, rank=2, learnable_scaling=True)
    parameter = layer.scaling
    layer.set_alpha(5)
    assert layer.scaling is parameter
    assert parameter.item() == 2.5
    assert parameter.requires_grad


def test_a_parameter_of_shape_1_can_be_assigned_by_hand_as_scaling():
    layer = fixed(LoRALayer(6, 4, rank=2, alpha=7))
    x = numbers(3, 6)
    before = layer(x)
    layer.scaling = nn.Parameter(torch.ones(1))
    assert "scaling" in dict(layer.named_parameters())
    assert torch.allclose(layer(x) * 3.5, before, atol=1e-6)
    layer(x).sum().backward()
    assert layer.scaling.grad.item() != 0
    assert torch.allclose(layer(x), x @ layer.delta_weight().T, atol=1e-6)


@pytest.mark.parametrize("learnable", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_meet_float32_factors_in_half_precision(dtype, learnable):
    layer = fixed(LoRALayer(6, 4, rank=2, alpha=3, learnable_scaling=learnable))
    x, base_output = numbers(5, 6, dtype=dtype), numbers(5, 4, dtype=dtype)
    for output, exact in (
        (layer(x), by_hand(layer, x.float())),
        (layer(x, base_output), base_output.float() + by_hand(layer, x.float())),
    ):
        assert output.dtype == dtype
        assert torch.allclose(output.float(), exact, atol=0.05)
    layer(x, base_output).float().sum().backward()
    assert {p.grad.dtype for p in layer.parameters()} == {torch.float32}


def test_an_output_of_another_dtype_keeps_its_dtype():
    layer = fixed(LoRALayer(6, 4, rank=2))
    x = numbers(5, 6)
    for dtype in (torch.bfloat16, torch.float64):
        assert layer(x, numbers(5, 4, dtype=dtype)).dtype == dtype


def test_dropout_acts_in_training_only_and_on_the_input():
    layer = fixed(LoRALayer(6, 4, rank=2, dropout=0.5))
    x = torch.ones(64, 6)
    torch.manual_seed(0)
    dropped = layer.train()(x)
    torch.manual_seed(0)
    mask = torch.nn.functional.dropout(x, 0.5)
    assert torch.allclose(dropped, mask @ layer.lora_A @ layer.lora_B, atol=1e-6)
    assert torch.equal(layer.eval()(x), layer(x))
    assert not torch.allclose(dropped, layer(x))


def test_the_printed_layer_tells_sizes_rank_and_scaling():
    assert str(LoRALayer(6, 4, rank=2, alpha=3)) == "LoRALayer(in_features=6, out_features=4, rank=2, scaling=1.5)"
    assert "dropout=0.1" in str(LoRALayer(6, 4, dropout=0.1))
    assert "scaling=learnable" in str(LoRALayer(6, 4, learnable_scaling=True))


def test_layers_can_be_made_on_the_meta_device():
    layer = LoRALayer(12288, 12288, rank=8, learnable_scaling=True, device="meta")
    assert sum(p.numel() for p in layer.parameters()) == 2 * 12288 * 8 + 1
    assert all(p.is_meta for p in layer.parameters())


@pytest.mark.parametrize(
    "number", [np.float32(3), np.float64(3), np.int64(3), Fraction(3, 1), 3.0], ids=lambda n: type(n).__name__
)
def test_any_real_number_can_be_alpha_and_any_whole_number_rank(number):
    layer = fixed(LoRALayer(np.int64(6), 4, np.int64(2), number))
    assert layer(numbers(2, 6)).shape == (2, 4)
    assert (type(layer.rank), layer.scaling) == (int, 1.5)
    assert type(layer.alpha) in (int, float)  # what JSON can hold
    assert type(layer.scaling) is float


def test_a_registered_variant_can_be_asked_for_by_name():
    try:

        @register_variant("mine")
        class Mine(LoRALayer):
            pass

        assert VARIANTS["mine"] == {"Linear": Mine} and Mine.variant == "mine"
    finally:
        VARIANTS.pop("mine", None)


def test_the_update_is_added_to_a_base_output_of_another_dtype():
    layer = fixed(LoRALayer(6, 4, rank=2))
    x, base_output = numbers(3, 6).float(), numbers(3, 4, seed=1).double()
    summed = layer(x, base_output=base_output)
    assert summed.dtype == torch.float64
    assert torch.equal(summed, base_output + layer(x).double()) and not torch.equal(summed, base_output)
