"""One adapter's state: what is active, and what may be mixed."""

import math

from lora_teach import LoRAConfig, LoRALayer, LoRAModel
from lora_teach.overlay.adapter import Adapter, mixture_of
from tests.toy import mlp

import pytest


@pytest.fixture
def adapter():
    return Adapter(mlp(), LoRAConfig(rank=2, target_modules=["0"], modules_to_save=["2"]))


def flags(adapter):
    return [p.requires_grad for table in (adapter.layers, adapter.saved_modules) for p in table.parameters()]


def test_activating_gives_each_parameter_its_own_flag_back(adapter):
    adapter.layers["0"].lora_A.requires_grad_(False)
    own = flags(adapter)
    assert own == [False, True, True, True]
    for _ in range(2):  # deactivating twice keeps the flags
        adapter.deactivate()
        adapter.deactivate()
        assert not any(flags(adapter))
        adapter.activate()
        assert flags(adapter) == own


def test_a_layer_replaced_while_inactive_is_inactive():
    model = LoRAModel(mlp())
    model.add_adapter("b")
    model.adapters["b"]["2"] = LoRALayer(8, 4, rank=2)
    model.set_adapter("default")
    assert not any(p.requires_grad for p in model.adapters["b"].parameters())
    model.set_adapter("b")
    assert all(p.requires_grad for p in model.adapters["b"].parameters())


def test_its_paths_are_those_of_layers_and_saved_modules(adapter):
    assert adapter.paths == ["0", "2"]
    assert adapter.active_alone() == ["2"]


def test_a_choice_becomes_a_mixture_of_floats():
    adapters = {name: Adapter(mlp(), LoRAConfig(rank=2)) for name in ("a", "b")}
    assert mixture_of(None, adapters) == {}
    assert mixture_of("a", adapters) == {"a": 1.0}
    assert mixture_of({"a": 1, "b": 0.5}, adapters) == {"a": 1.0, "b": 0.5}
    for bad in (3, ["a"], {"a": True}, {"a": math.nan}, {"a": "1"}):
        with pytest.raises(TypeError):
            mixture_of(bad, adapters)
    with pytest.raises(KeyError, match="no adapter 'c'; there are: 'a', 'b'"):
        mixture_of("c", adapters)


@pytest.mark.parametrize("mixture", [{"a": 0.5}, {"a": 1.0, "b": 1.0}])
def test_what_is_active_alone_is_not_mixed(adapter, mixture):
    adapters = {"a": adapter, "b": Adapter(mlp(), LoRAConfig(rank=2))}
    assert mixture_of({"a": 1.0}, adapters) == {"a": 1.0}
    with pytest.raises(ValueError, match="adapter 'a' has its own 2, which cannot be mixed. Activate it alone."):
        mixture_of(mixture, adapters)
