"""Modules under dotted names."""

import copy

from lora_teach import LoRALayer, LoRAModel
from lora_teach.overlay.nested_modules import NestedModules
from tests.toy import TinyGPT, bits, filled, numbers, same_bits, tokens

import pytest
import torch
from torch import nn


@pytest.fixture
def model():
    return filled(LoRAModel(TinyGPT()))


def test_layers_are_found_under_the_names_that_named_modules_gives(model):
    names = ["blocks.0.q_proj", "blocks.0.v_proj", "blocks.1.q_proj", "blocks.1.v_proj"]
    assert list(model.lora_layers) == names
    assert list(model.lora_layers.keys()) == names
    assert [name for name, _ in model.lora_layers.items()] == names
    assert all(isinstance(layer, LoRALayer) for layer in model.lora_layers.values())
    assert len(model.lora_layers) == 4
    assert "blocks.0.q_proj" in model.lora_layers
    assert "blocks.0" not in model.lora_layers
    assert "blocks" not in model.lora_layers
    assert 3 not in model.lora_layers


def test_one_nested_level_is_stored_per_part(model):
    assert model.adapters.default.blocks.get_submodule("0").q_proj is model.lora_layers["blocks.0.q_proj"]
    assert model.get_submodule("adapters.default.blocks.0.q_proj") is model.lora_layers["blocks.0.q_proj"]
    assert not any("." in part for m in model.modules() for part in m._modules)


def test_dotted_names_load_with_strict(model):
    other = LoRAModel(TinyGPT(seed=5))
    result = other.load_state_dict(model.state_dict(), strict=True)
    assert not result.missing_keys
    assert not result.unexpected_keys
    assert same_bits(bits(other), bits(model))


def test_functional_call_uses_the_parameters_that_it_is_given(model):
    model.eval()
    zeros = {name: torch.zeros_like(p) for name, p in model.named_parameters() if "lora_B" in name}
    with model.disabled():
        base = model(tokens())
    assert not torch.equal(model(tokens()), base)
    assert torch.equal(torch.func.functional_call(model, zeros, (tokens(),)), base)


def test_gradients_per_example_by_vmap_equal_one_example_at_a_time(model):
    model.eval()
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def loss(parameters, example):
        return torch.func.functional_call(model, parameters, (example[None],)).square().mean()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(trained, tokens())
    for row in range(3):
        model.zero_grad()
        model(tokens()[row : row + 1]).square().mean().backward()
        for name, parameter in model.named_parameters():
            if name in trained:
                assert torch.allclose(each[name][row], parameter.grad, atol=1e-6)


def test_a_missing_name_is_a_key_error_with_the_nearest_names(model):
    with pytest.raises(KeyError, match="no layer 'blocks' here"):
        model.lora_layers["blocks"]
    layers = NestedModules()
    for name in ("a.first", "a.second", "b.first", "b.second"):
        layers.add(name, nn.ReLU())
    with pytest.raises(KeyError, match="no layer 'b.frist' here; .* are: 'b.first', 'a.first', '[ab].second'\""):
        layers["b.frist"]
    with pytest.raises(KeyError, match="no layer 3 here; the nearest are: 'a.first', 'a.second', 'b.first'\""):
        layers[3]  # none is near, so the first three
    with pytest.raises(KeyError, match="no layer 2 here; the nearest are: '2', '12'\""):
        LoRAModel(nn.ModuleDict({"12": nn.Linear(2, 2), "2": nn.Linear(2, 2)}), rank=1).lora_layers[2]


def test_only_a_module_can_take_a_layers_place_and_only_where_one_is(model):
    before = dict(model.lora_layers.items())
    with pytest.raises(TypeError, match="function is no module"):
        model.lora_layers["blocks.0.q_proj"] = test_dotted_names_load_with_strict
    with pytest.raises(KeyError, match="'blocks.7.q_proj'"):
        model.lora_layers["blocks.7.q_proj"] = LoRALayer(8, 8)
    assert dict(model.lora_layers.items()) == before


def test_a_container_in_a_layers_place_is_one_layer(model):
    names = list(model.lora_layers)
    for layer in (nn.Sequential(LoRALayer(8, 8)), nn.Identity()):
        model.lora_layers["blocks.0.q_proj"] = layer
        assert list(model.lora_layers) == names
        assert model.lora_layers["blocks.0.q_proj"] is layer


def test_a_name_inside_another_is_refused():
    layers = NestedModules()
    layers.add("a", nn.Linear(2, 2))
    with pytest.raises(ValueError, match="'a.b' lies inside"):
        layers.add("a.b", nn.Linear(2, 2))


def test_empty_tables_are_empty():
    layers = NestedModules()
    assert (len(layers), list(layers), dict(layers.items())) == (0, [], {})
    with pytest.raises(KeyError, match="no layer 'x'"):
        layers["x"]
    with pytest.raises(AttributeError):
        layers.nothing  # noqa: B018


class WithDictNames(nn.Module):
    """An attention whose layers have the names of a dict's methods."""

    def __init__(self):
        super().__init__()
        self.keys, self.values, self.items = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        return self.items(self.values(self.keys(x)))


def test_a_base_may_have_layers_called_keys_values_and_items(tmp_path):
    torch.manual_seed(0)
    base = WithDictNames()
    model = filled(LoRAModel(copy.deepcopy(base), rank=2))
    x = numbers(3, 4)
    assert list(model.lora_layers) == ["keys", "values", "items"]
    assert model.lora_layers.keys is model.lora_layers["keys"]
    model.set_alpha(3)
    plain = model(x)
    model.save_adapter(tmp_path)
    assert torch.equal(LoRAModel.from_pretrained(base, tmp_path)(x), plain)
    with model.merged():
        assert torch.allclose(model(x), plain, atol=1e-6)
    model.load_adapter(tmp_path, "again")
    model.set_adapter({"default": 0.5, "again": 0.5})
    assert torch.allclose(model(x), plain, atol=1e-6)
    assert "keys" in str(model)
    model.print_trainable_parameters()
    model.remove()
