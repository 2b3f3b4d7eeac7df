"""A weight is merged into only where the module does no more than apply it."""

import types

from lora_teach import LoRAModel
from tests.tiny_language_model import tiny_model
from tests.toy import bits, filled, numbers, same_bits

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune


class Masked(nn.Linear):
    def forward(self, x):
        return F.linear(x, self.weight * (self.weight.abs() > 0.1), self.bias)


class Ternary(nn.Linear):
    def forward(self, x):
        return F.linear(x, self.weight.sign() * self.weight.abs().mean(), self.bias)


class Standardised(nn.Conv2d):
    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Noisy(nn.Linear):
    def forward(self, x):
        return super().forward(x) + self.weight.norm()


class Renamed(nn.Linear):
    """A subclass that leaves the forward alone, as many do."""


class FromBelow(Masked):
    """The forward of its own is inherited."""


def patched():
    layer = nn.Linear(6, 8)
    layer.forward = types.MethodType(lambda self, x: F.linear(x, self.weight.round(decimals=1), self.bias), layer)
    return layer


def pruned():
    layer = nn.Linear(6, 8)
    prune.random_unstructured(layer, "weight", 0.5)
    return layer


def normed():
    return nn.utils.parametrizations.weight_norm(nn.Linear(6, 8))


REFUSED = {
    "masked": lambda: Masked(6, 8),
    "ternary": lambda: Ternary(6, 8),
    "standardised": lambda: Standardised(2, 4, 3),
    "more than the weight": lambda: Noisy(6, 8),
    "inherited": lambda: FromBelow(6, 8),
    "patched onto one": patched,
    "pruned": pruned,
    "weight norm": normed,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_forward_that_does_more_is_adapted_but_never_merged_into(kind):
    torch.manual_seed(0)
    base = nn.Sequential()
    base.layer = REFUSED[kind]()
    before = bits(base)
    model = filled(LoRAModel(base, rank=2, target_modules=["layer"]))
    x = numbers(3, 2, 5, 5) if isinstance(base.layer, nn.Conv2d) else numbers(3, 6)
    assert not torch.allclose(model(x), base.layer.forward(x))
    for merge in (model.merge, lambda: model.remove(merge=True)):
        with pytest.raises(ValueError, match=r"^layer: .*(forward of its own|parametrised)"):
            merge()
    assert same_bits(bits(base), before) and not model.is_merged


@pytest.mark.parametrize("layer", [Renamed(6, 8), nn.modules.linear.NonDynamicallyQuantizableLinear(6, 8)])
def test_a_subclass_with_torchs_forward_is_merged_into(layer):
    model, x = filled(LoRAModel(nn.Sequential(layer), rank=2)), numbers(3, 6)
    expected = model(x)
    with model.merged():
        assert torch.allclose(model(x), expected, atol=1e-5)


def test_falcons_linear_layer_is_known_and_accelerates_hooks_are_seen_through():
    falcon = pytest.importorskip("transformers.models.falcon.modeling_falcon")
    accelerated = nn.Linear(6, 8)
    accelerated._hf_hook, accelerated._old_forward = object(), accelerated.forward
    accelerated.forward = lambda x: accelerated._old_forward(x)
    for layer in (falcon.FalconLinear(6, 8), accelerated):
        model, x = filled(LoRAModel(nn.Sequential(layer), rank=2)), numbers(3, 6)
        expected = model(x)
        with model.merged():
            assert torch.allclose(model(x), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["masked", "ternary", "more than the weight", "patched onto one"])
def test_dora_which_turns_the_weight_needs_a_known_forward_too(kind):
    with pytest.raises(ValueError, match="forward of its own, and DoRA"):
        LoRAModel(nn.Sequential(REFUSED[kind]()), rank=2, variant="dora")


def test_a_weight_that_was_tied_after_wrapping_is_not_merged_into():
    model = filled(LoRAModel(nn.ModuleDict({"a": nn.Linear(6, 6), "b": nn.Linear(6, 6)}), rank=2, target_modules=["a"]))
    model.base_model["b"].weight = model.base_model["a"].weight
    with pytest.raises(ValueError, match="^a: its weight is shared with b.weight"):
        model.merge()


HOOKS = {
    "scales the output": (lambda module, args, output: 2 * output, None),
    "clips the output": (lambda module, args, output: output.clamp(-0.1, 0.1), None),
    "scales the input": (None, lambda module, args: (2 * args[0],)),
}


@pytest.mark.parametrize("kind", HOOKS)
def test_a_hook_that_came_before_the_adapter_sees_no_update_and_is_not_merged_under(kind):
    after, before = HOOKS[kind]
    layer = nn.Linear(6, 8)
    if after:
        layer.register_forward_hook(after)
    else:
        layer.register_forward_pre_hook(before)
    model, x = filled(LoRAModel(nn.Sequential(layer), rank=2)), numbers(3, 6)
    expected, weight = model(x), layer.weight.clone()
    if after:
        with pytest.raises(ValueError, match="^0: a forward hook that was there before the adapter.*Take it off first"):
            model.merge()
        assert torch.equal(layer.weight, weight)
    else:  # the adapter has the scaled input too
        model.merge()
    assert torch.allclose(model(x), expected, atol=1e-5)


def test_the_hook_that_transformers_needs_for_gradient_checkpointing_is_no_obstacle():
    base = tiny_model()
    base.enable_input_require_grads()
    model = filled(LoRAModel(base, rank=2, target_modules=["q_proj", "embed_tokens"]))
    tokens = torch.tensor([[3, 7, 2]])
    expected = model(tokens).logits
    model.merge()
    assert torch.allclose(model(tokens).logits, expected, atol=1e-4)
