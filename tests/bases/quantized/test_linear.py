"""A linear layer in four bits: what it computes, what it keeps, and that it stays itself when copied, moved, saved."""

import copy

from lora_teach import LoRAModel
from lora_teach.bases.quantized import QuantizedLinear, bits_per_parameter, dequantize_, quantize, quantize_
from tests.toy import TinyGPT, bits, mlp, numbers, picture, same_bits, same_picture, tokens

import pytest
import torch
import torch.nn.functional as F
from torch import nn


def a_linear(bias=True):
    torch.manual_seed(0)
    return nn.Linear(24, 10, bias)


@pytest.mark.parametrize("shape", [(24,), (5, 24), (2, 3, 24), (0, 24)])
@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_it_computes_and_differentiates_as_the_dequantised_layer(shape, double, bias):
    linear = a_linear(bias)
    layer = QuantizedLinear.from_linear(linear, block_size=32, double=double)
    weight = quantize(linear.weight, 4, 32, double).dequantize()
    assert torch.equal(layer.dequantize(), weight)
    x, again = (numbers(*shape).requires_grad_() for _ in range(2))
    out, expected = layer(x), F.linear(again, weight, linear.bias)
    assert torch.equal(out, expected)
    out.square().sum().backward()
    grads = [x.grad] + ([linear.bias.grad.clone()] if bias else [])
    linear.zero_grad()
    expected.square().sum().backward()
    for mine, theirs in zip(grads, [again.grad] + ([linear.bias.grad] if bias else []), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_its_gradient_is_right_by_differences_and_can_be_differentiated():
    layer = QuantizedLinear(6, 4, block_size=8).double()
    x = numbers(3, 6, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(layer, x) and torch.autograd.gradgradcheck(layer, x)


def test_nothing_of_the_dequantised_weight_is_kept_for_the_backward():
    layer, kept = QuantizedLinear(64, 64), []
    own = {tensor.data_ptr() for tensor in (*layer.parameters(), *layer.buffers())}
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        layer(numbers(2, 64).requires_grad_())
    assert kept and {tensor.data_ptr() for tensor in kept} <= own


def test_it_computes_in_the_inputs_dtype_and_under_autocast():
    layer = QuantizedLinear.from_linear(a_linear())
    for dtype in (torch.bfloat16, torch.float64):
        out = layer(numbers(3, 24, dtype=dtype))
        expected = F.linear(numbers(3, 24, dtype=dtype), layer.dequantize().to(dtype), layer.bias.to(dtype))
        assert torch.equal(out, expected)
    x, again = (numbers(3, 24).requires_grad_() for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        out, expected = layer(x), F.linear(again, layer.dequantize(), layer.bias)
    assert torch.equal(out, expected) and out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    expected.float().square().sum().backward()
    assert x.grad.dtype == torch.float32
    torch.testing.assert_close(x.grad, again.grad, rtol=1e-2, atol=1e-2)


def test_an_input_that_was_cast_to_the_weights_dtype_is_refused():
    layer = QuantizedLinear(8, 4)
    with pytest.raises(TypeError, match="uint8.*T5.*exclude_modules"):
        layer(numbers(2, 8).to(layer.weight.dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_cast_of_the_model_changes_no_weight(dtype):
    layer = QuantizedLinear.from_linear(a_linear())
    found, weight = bits(layer), layer.dequantize()
    layer.to(dtype)
    assert all(torch.equal(found[key], value) for key, value in bits(layer).items() if key != "bias")
    assert layer.bias.dtype == layer.dequantize().dtype == dtype
    assert torch.equal(layer.dequantize(), weight.to(dtype))
    assert torch.equal(layer.float().dequantize(), weight)


@pytest.mark.parametrize("double, stored", [(True, 4 + 8 / 64 + (4 + 1) * 32 / 65536), (False, 4.5)])
def test_bits_per_parameter_is_what_is_stored(double, stored):
    layer = QuantizedLinear(256, 256, double=double)
    assert bits_per_parameter(layer) == stored
    weight = nn.Linear(256, 256).weight
    assert bits_per_parameter(layer) == pytest.approx(quantize(weight, double=double).bits_per_number, abs=1e-12)
    state = sum(8 * t.numel() * t.itemsize for key, t in layer.state_dict().items() if key != "bias")
    assert state == stored * 65536


def test_quantize_changes_the_linear_layers_in_place_and_nothing_else():
    model = TinyGPT()
    found, modules, called = bits(model), dict(model.named_modules()), []
    model.blocks[0].q_proj.register_forward_hook(lambda *_: called.append(1))
    assert quantize_(model) is model
    assert dict(model.named_modules()) == modules and model.head.weight is model.embedding.weight
    for name, module in modules.items():
        assert isinstance(module, QuantizedLinear) == name.endswith("_proj")
    for key, value in model.state_dict().items():
        if not any(part in key for part in ("_proj.weight", "absmax", "nested")):
            assert torch.equal(value, found[key])
    model(tokens())
    assert called


def test_targets_are_chosen_as_loraconfig_chooses_them():
    assert _quantized(quantize_(TinyGPT(), ["q_proj"])) == ["blocks.0.q_proj", "blocks.1.q_proj"]
    assert _quantized(quantize_(TinyGPT(), r"blocks\.1\..*_proj")) == ["blocks.1.q_proj", "blocks.1.v_proj"]
    assert _quantized(quantize_(TinyGPT(), exclude_modules=["blocks.0.q_proj", "v_proj"])) == ["blocks.1.q_proj"]


def test_layers_whose_weight_others_read_stay_as_they_are():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)
    model = nn.ModuleDict({"encoder": encoder, "last": nn.Linear(8, 8)})
    assert _quantized(quantize_(model)) == ["last"]
    encoder.eval()(numbers(2, 3, 8))


@pytest.mark.parametrize(
    "make, options, words",
    [
        (TinyGPT, {"target_modules": ["head"]}, "'head'.*tied to the embedding"),
        (TinyGPT, {"target_modules": ["q_projj"]}, "matches no module.*q_proj"),
        (TinyGPT, {"target_modules": ["embedding"]}, "'?embedding'?.*tied|Embedding"),
        (lambda: nn.TransformerEncoderLayer(8, 2, 16), {}, "reads this layer's weight"),
        (lambda: nn.TransformerEncoderLayer(8, 2, 16), {"target_modules": ["linear1"]}, "reads this layer's weight"),
        (lambda: quantize_(mlp()), {}, "quantised already"),
        (lambda: nn.LayerNorm(4), {}, "no layer that can be adapted"),
        (mlp, {"block_size": 0}, "block_size=0"),
        (lambda: _with_nan(), {}, "2: the tensor has nan"),
        (lambda: _overlaid(), {}, "carries a LoRAModel's overlay"),
    ],
    ids=["tied", "no such", "embedding", "read past", "named", "twice", "none", "block", "nan", "overlaid"],
)
def test_what_cannot_be_quantised_is_refused_and_nothing_changes(make, options, words):
    model = make()
    found = picture(model)
    with pytest.raises(ValueError, match=words):
        quantize_(model, **options)
    assert same_picture(found, picture(model))


def test_a_loramodel_is_refused():
    with pytest.raises(TypeError, match="LoRAModel already"):
        quantize_(LoRAModel(mlp(), rank=2))


def test_dequantize_gives_plain_layers_that_compute_the_same():
    model = quantize_(mlp())
    x = numbers(5, 6)
    expected = model(x)
    assert dequantize_(model) is model
    assert type(model[0]) is nn.Linear and not dict(model.named_buffers()) and torch.equal(model(x), expected)
    assert not model[0].weight.requires_grad and "block_size" not in vars(model[0])
    with pytest.raises(ValueError, match="no QuantizedLinear.*quantize_"):
        dequantize_(model)
    assert not quantize_(mlp().bfloat16())[0].weight.is_floating_point()
    assert dequantize_(quantize_(mlp().bfloat16()))[0].weight.dtype == torch.bfloat16


def test_a_copy_and_a_saved_state_compute_the_same(tmp_path):
    model, x = quantize_(mlp()), numbers(5, 6)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(x), model(x)) and same_bits(bits(twin), bits(model))
    torch.save(model.state_dict(), tmp_path / "state.pt")
    other = quantize_(mlp(seed=5))
    assert not torch.equal(other(x), model(x))
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(other(x), model(x))
    torch.save(model, tmp_path / "whole.pt")
    assert torch.equal(torch.load(tmp_path / "whole.pt", weights_only=False)(x), model(x))


def test_a_saved_state_fits_only_a_model_that_is_quantised_alike():
    state = quantize_(mlp()).state_dict()
    for other in (mlp(), quantize_(mlp(), block_size=16), quantize_(mlp(), double=False)):
        with pytest.raises(RuntimeError, match="size mismatch|Missing|Unexpected"):
            other.load_state_dict(state)


def test_shapes_alone_can_be_quantised():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(256, 128))
    assert bits_per_parameter(quantize_(model)) == bits_per_parameter(quantize_(nn.Sequential(nn.Linear(256, 128))))


def test_it_says_what_it_is():
    text = repr(QuantizedLinear(8, 4, block_size=16, double=False))
    assert text == "QuantizedLinear(in_features=8, out_features=4, bias=True, nf4, block_size=16, double=False)"


def _quantized(model):
    return [name for name, module in model.named_modules() if isinstance(module, QuantizedLinear)]


def _with_nan():
    model = mlp()
    with torch.no_grad():
        model[2].weight[1, 1] = torch.nan
    return model


def _overlaid():
    model = LoRAModel(mlp(), rank=2)
    _overlaid.kept = model
    return model.base_model
