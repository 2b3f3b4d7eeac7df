"""Bad input: the right exception, with the value and the cure in its words, and nothing has changed."""

import re

from lora_teach import LoRAConfig, LoRALayer, LoRAModel
from tests.toy import TinyGPT, filled, mlp, numbers, picture, same_picture

import numpy as np
import pytest
import torch
from torch import nn

NAN, INF = float("nan"), float("inf")

# (options, exception, words that the message must have: the value, then the limit or the cure)
OPTIONS = [
    ({"rank": 0}, ValueError, ["rank=0", "at least 1"]),
    ({"rank": -1}, ValueError, ["rank=-1", "at least 1"]),
    ({"rank": 2**63}, ValueError, [f"rank={2**63}", "too large", "2**63"]),
    ({"rank": 1.5}, TypeError, ["rank=1.5", "integer"]),
    ({"rank": True}, TypeError, ["rank=True", "integer"]),
    ({"rank": "4"}, TypeError, ["rank='4'", "integer"]),
    ({"rank": None}, TypeError, ["rank=None", "integer"]),
    ({"alpha": NAN}, ValueError, ["alpha=nan", "finite number"]),
    ({"alpha": INF}, ValueError, ["alpha=inf", "finite number"]),
    ({"alpha": -INF}, ValueError, ["alpha=-inf", "finite number"]),
    ({"alpha": 10**400}, ValueError, ["alpha=1000", "finite number"]),
    ({"alpha": -1e308}, ValueError, ["alpha=-1e+308", "float32", "finite number"]),  # a learnable scaling can't hold it
    ({"alpha": "16"}, TypeError, ["alpha='16'", "finite number"]),
    ({"alpha": True}, TypeError, ["alpha=True", "finite number"]),
    ({"dropout": 1}, ValueError, ["dropout=1", "[0, 1)", "0.05"]),
    ({"dropout": 1.5}, ValueError, ["dropout=1.5", "[0, 1)"]),
    ({"dropout": -0.1}, ValueError, ["dropout=-0.1", "[0, 1)"]),
    ({"dropout": NAN}, ValueError, ["dropout=nan", "[0, 1)"]),
    ({"dropout": "no"}, TypeError, ["dropout='no'", "probability"]),
    ({"dropout": True}, TypeError, ["dropout=True", "probability"]),
    ({"scaling": "r/alpha"}, ValueError, ["scaling='r/alpha'", "'alpha/r', 'alpha/sqrt(r)', 'alpha'"]),
    ({"scaling": 2}, ValueError, ["scaling=2", "'alpha/r'"]),
    ({"scaling": ["alpha"]}, ValueError, ["scaling=['alpha']", "'alpha/r'"]),
    ({"init": "ones"}, ValueError, ["init='ones'", "'uniform', 'randn'"]),
]
CONFIG_ONLY = [
    ({"variant": "lorra"}, ValueError, ["variant='lorra'", "'lora'"]),
    ({"learnable_scaling": "yes"}, TypeError, ["learnable_scaling='yes'", "True or False"]),
    ({"rnak": 8}, TypeError, ["'rnak'", "'rank'"]),
    ({"zzz": 8}, TypeError, ["'zzz'", "target_modules"]),
    ({"r": 8}, TypeError, ["'r'", "rank"]),
    ({"target_modules": "q_proj["}, ValueError, ["'q_proj['", "broken", "list of names"]),
    ({"exclude_modules": "(v"}, ValueError, ["'(v'", "broken"]),
    ({"target_modules": []}, ValueError, ["[]", "None"]),
    ({"target_modules": {"q_proj": 8}}, TypeError, ["{'q_proj': 8}", "values would be lost", "list of names"]),
    ({"exclude_modules": {"q_proj": True}}, TypeError, ["{'q_proj': True}", "list of names"]),
    ({"modules_to_save": {"head": 1}}, TypeError, ["{'head': 1}", "list of names"]),
    ({"target_modules": b"q_proj"}, TypeError, ["113", "strings"]),
    ({"target_modules": 3}, TypeError, ["3", "list of strings"]),
    ({"target_modules": ["q_proj", 3]}, TypeError, ["3", "strings"]),
    ({"target_modules": ["q_proj", ""]}, TypeError, ["''", "non-empty"]),
    ({"modules_to_save": "head"}, TypeError, ["'head'", "['head']"]),
    ({"rank_pattern": ["q_proj"]}, TypeError, ["['q_proj']", "dict"]),
    ({"rank_pattern": {"q_proj": 0}}, ValueError, ["rank=0", "at least 1"]),
    ({"rank_pattern": {"q_proj": 2**63}}, ValueError, [f"rank={2**63}", "too large"]),
    ({"rank_pattern": {3: 4}}, TypeError, ["3", "strings"]),
    ({"rank_pattern": {"q_proj(": 4}}, ValueError, ["'q_proj('", "broken"]),
    ({"rank_pattern": {"a{99999999999}": 4}}, ValueError, ["'a{99999999999}'", "broken"]),
    ({"target_modules": "(" * 5000}, ValueError, ["broken"]),
    ({"alpha_pattern": {"q_proj": "x"}}, TypeError, ["alpha='x'", "finite"]),
]
MODEL_ONLY = [
    ({"rank": 9, "target_modules": ["q_proj"]}, ValueError, ["rank=9", "1..8", "q_proj"]),
    ({"rank": 9}, ValueError, ["TinyGPT", "rank=9", "1..8"]),
    ({"target_modules": ["qproj"]}, ValueError, ["'qproj'", "nearest", "'q_proj'"]),
    ({"target_modules": ["q_proj", "zzz"]}, ValueError, ["'zzz'", "'q_proj'", "'v_proj'"]),
    ({"target_modules": r".*\.k_proj"}, ValueError, ["k_proj", "nearest"]),
    ({"target_modules": ["_proj"]}, ValueError, ["'_proj'", "nearest", "'q_proj'"]),
    ({"target_modules": ["norm"]}, ValueError, ["blocks.0.norm", "LayerNorm is no linear layer", "Leave it out"]),
    ({"target_modules": ["blocks"]}, ValueError, ["ModuleList", "'0.q_proj'"]),
    ({"target_modules": ["head"]}, ValueError, ["'head'", "tied to the embedding 'embedding'", "clone()"]),
    ({"target_modules": ["q_proj"], "exclude_modules": ["blocks.0.q_proj", "blocks.1.q_proj"]}, ValueError,
     ["'q_proj'", "exclude_modules"]),
    ({"exclude_modules": ["q_proj", "v_proj"]}, ValueError, ["TinyGPT", "nn.Linear"]),
    ({"modules_to_save": ["blocks"]}, ValueError, ["'blocks'", "ModuleList", "never called", "'0.q_proj'"]),
    ({"target_modules": "q_proj"}, ValueError, ["'q_proj'", "regular expression", "['q_proj']"]),
    ({"target_modules": ["all-linear", "q_proj"]}, ValueError, ["'all-linear'", "nearest", "'q_proj'"]),
    ({"target_modules": ["blocks.*.q_proj"]}, ValueError, ["'blocks.*.q_proj'", "nearest", "'blocks.0.q_proj'"]),
    ({"exclude_modules": ["v_prj"]}, ValueError, ["exclude_modules='v_prj'", "nearest", "'v_proj'"]),
    ({"modules_to_save": ["haed"]}, ValueError, ["'haed'", "nearest", "'head'"]),
    ({"modules_to_save": ["dropout"]}, ValueError, ["dropout", "no parameters"]),
    ({"modules_to_save": ["blocks.0", "norm"]}, ValueError, ["blocks.0.norm", "only the outer"]),
    ({"modules_to_save": ["q_proj"], "target_modules": ["q_proj"]}, ValueError, ["q_proj", "Leave one of the two"]),
]  # fmt: skip
NAMES = [
    ("default", ValueError, ["'default'", "already", "delete_adapter('default')"]),
    ("", ValueError, ["''", "Use a word"]),
    ("a.b", ValueError, ["'a.b'", "Use a word"]),
    ("a/b", ValueError, ["'a/b'", "Use a word"]),
    ("..", ValueError, ["'..'", "Use a word"]),
    ("keys", ValueError, ["'keys'", "Use a word"]),
    ("training", ValueError, ["'training'", "Use a word"]),
    ("_modules", ValueError, ["'_modules'", "Use a word"]),
    ("forward", ValueError, ["'forward'", "Use a word"]),
    ("a:b", ValueError, ["'a:b'", "file system"]),
    ("what?", ValueError, ["'what?'", "file system"]),
    ("a\nb", ValueError, ["'a\\nb'", "file system"]),
    ("a\0", ValueError, ["file system"]),
    ("\ud800", ValueError, ["file system"]),
    (" a", ValueError, ["' a'", "file system"]),
    ("nul", ValueError, ["'nul'", "file system"]),
    ("Com1", ValueError, ["'Com1'", "file system"]),
    ("COM¹", ValueError, ["'COM¹'", "file system"]),
    ("conin$", ValueError, ["'conin$'", "file system"]),
    ("é" * 128, ValueError, ["too long", "255 bytes"]),
    (3, TypeError, ["3", "'finnish'"]),
    (None, TypeError, ["None", "'finnish'"]),
]
SWITCHES = [
    ("finish", KeyError, ["'finish'", "'default'", "'finnish'"]),
    ("", KeyError, ["''", "'default'"]),
    (3, TypeError, ["3", "{'"]),
    ({"finish": 1.0}, KeyError, ["'finish'", "'finnish'"]),
    ({"finnish": "half"}, TypeError, ["'half'", "'finnish'", "0.5"]),
    ({"finnish": None}, TypeError, ["None", "0.5"]),
    ({"finnish": True}, TypeError, ["True", "0.5"]),
    ({"finnish": NAN}, TypeError, ["nan", "finite"]),
    ({"default": 0.5, "finnish": INF}, TypeError, ["inf", "finite"]),
    ({"finnish": torch.tensor(0.5)}, TypeError, ["tensor", "0.5"]),
    (["default", "finnish"], TypeError, ["['default', 'finnish']", "{'"]),
    (("default",), TypeError, ["('default',)", "{'"]),
]


def name(case):
    return re.sub(r"\W+", "-", str(case))[:50] if not isinstance(case, (type, list)) else ""


def refused(exception, words, call):
    """Run ``call``, which must raise exactly ``exception`` with all ``words`` in its message."""
    with pytest.raises(exception) as caught:
        call()
    assert type(caught.value) is exception, f"a {type(caught.value).__name__} came instead"
    message = str(caught.value)
    assert all(word in message for word in words), f"{words} must be in: {message}"


@pytest.mark.parametrize("name", ["rank", "alpha"])
def test_a_number_with_more_digits_than_python_writes_is_refused_in_words(name):
    refused(ValueError, [f"{name}=a number of thousands of digits", "Use"], lambda: LoRAConfig(**{name: 10**5000}))


@pytest.fixture
def model():
    model = LoRAModel(TinyGPT(), target_modules=["q_proj", "v_proj"])
    model.add_adapter("finnish", rank=2)
    return filled(model)


@pytest.mark.parametrize(("options", "exception", "words"), OPTIONS, ids=name)
def test_a_bad_option_of_a_layer_is_refused(options, exception, words):
    refused(exception, words, lambda: LoRALayer(8, 8, **options))


@pytest.mark.parametrize(("options", "exception", "words"), OPTIONS + CONFIG_ONLY, ids=name)
def test_a_bad_option_is_refused_when_the_config_is_made(options, exception, words):
    refused(exception, words, lambda: LoRAConfig(**options))


@pytest.mark.parametrize(("options", "exception", "words"), OPTIONS + CONFIG_ONLY + MODEL_ONLY, ids=name)
def test_a_bad_option_is_refused_and_the_base_is_as_it_was(options, exception, words):
    base = TinyGPT()
    before = picture(base)
    refused(exception, words, lambda: LoRAModel(base, **options))
    assert same_picture(before, picture(base))
    LoRAModel(base)  # and it can be used still


@pytest.mark.parametrize(("options", "exception", "words"), OPTIONS + CONFIG_ONLY + MODEL_ONLY, ids=name)
def test_a_bad_option_of_a_further_adapter_changes_nothing(model, options, exception, words):
    before = picture(model)
    refused(exception, words, lambda: model.add_adapter("third", **options))
    assert same_picture(before, picture(model))


@pytest.mark.parametrize(("adapter", "exception", "words"), NAMES, ids=name)
def test_a_bad_adapter_name_changes_nothing(model, adapter, exception, words):
    before = picture(model)
    refused(exception, words, lambda: model.add_adapter(adapter))
    assert same_picture(before, picture(model))
    if adapter != "default":
        base = TinyGPT()
        before = picture(base)
        refused(exception, words, lambda: LoRAModel(base, adapter_name=adapter))
        assert same_picture(before, picture(base))


@pytest.mark.parametrize(("adapter", "exception", "words"), SWITCHES, ids=name)
def test_a_bad_switch_changes_nothing(model, adapter, exception, words):
    before = picture(model)
    refused(exception, words, lambda: model.set_adapter(adapter))
    assert same_picture(before, picture(model))


def test_a_missing_adapter_is_refused_wherever_it_is_named(model, tmp_path):
    before = picture(model)
    refused(KeyError, ["'nobody'", "'finnish'"], lambda: model.delete_adapter("nobody"))
    refused(KeyError, ["'nobody'", "'finnish'"], lambda: model.save_adapter(tmp_path / "new", "nobody"))
    assert same_picture(before, picture(model))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("alpha", "exception"), [(NAN, ValueError), (INF, ValueError), ("2", TypeError)])
def test_a_bad_alpha_changes_no_layer(model, alpha, exception):
    before = picture(model)
    refused(exception, [f"alpha={alpha!r}", "finite"], lambda: model.set_alpha(alpha))
    assert same_picture(before, picture(model))


def test_set_alpha_is_for_all_layers_or_none(model):
    class Fixed(nn.Module):
        def forward(self, x):
            return 0 * x

    model.lora_layers["blocks.1.v_proj"] = Fixed()
    before = picture(model)
    refused(TypeError, ["Fixed", "set_alpha"], lambda: model.set_alpha(3))
    assert same_picture(before, picture(model))


@pytest.mark.parametrize("thing", [None, "gpt2", {"a": 1}, torch.zeros(3), nn.Linear], ids=name)
def test_a_base_that_is_no_module_is_refused(thing):
    refused(TypeError, [type(thing).__name__, "torch.nn.Module"], lambda: LoRAModel(thing))


def test_a_lora_model_in_a_lora_model_is_refused(model):
    before = picture(model)
    refused(TypeError, ["LoRAModel already", "add_adapter"], lambda: LoRAModel(model))
    refused(ValueError, ["overlay already", "remove()", "add_adapter"], lambda: LoRAModel(nn.Sequential(model)))
    assert same_picture(before, picture(model))


def test_a_second_overlay_on_the_same_base_is_refused(model):
    before = picture(model)
    refused(ValueError, ["remove()", "add_adapter"], lambda: LoRAModel(model.base_model))
    refused(ValueError, ["remove()", "add_adapter"], lambda: LoRAModel(model.base_model.blocks[0]))
    refused(ValueError, ["remove()", "add_adapter"], lambda: LoRAModel(nn.Sequential(model.base_model)))
    assert same_picture(before, picture(model))


@pytest.mark.parametrize("base", [nn.ReLU(), nn.LayerNorm(4), nn.Conv2d(1, 1, 1), nn.Sequential()], ids=name)
def test_a_base_with_nothing_to_adapt_is_refused(base):
    before = picture(base)
    refused(ValueError, [type(base).__name__, "nn.Linear"], lambda: LoRAModel(base))
    assert same_picture(before, picture(base))


def test_a_base_whose_layers_have_no_shape_yet_is_refused():
    base = nn.Sequential(nn.Linear(6, 4), nn.LazyLinear(3))
    flags = [p.requires_grad for p in base.parameters()]
    refused(ValueError, ["1.weight", "Call it once"], lambda: LoRAModel(base))
    assert [p.requires_grad for p in base.parameters()] == flags
    assert not base[0]._forward_hooks
    base(numbers(2, 6))
    LoRAModel(base, rank=3)


def test_the_message_tells_why_each_linear_layer_was_left_out():
    refused(ValueError, ["0: rank=9", "1..6", "2: rank=9", "1..4"], lambda: LoRAModel(mlp(), rank=9))


def test_a_config_and_options_at_once_are_refused(model):
    before = picture(model)
    refused(TypeError, ["rank", "one of the two"], lambda: model.add_adapter("x", LoRAConfig(), rank=2))
    refused(TypeError, ["dict", "LoRAConfig"], lambda: model.add_adapter("x", {"rank": 2}))
    refused(TypeError, ["int", "LoRAConfig"], lambda: LoRAModel(mlp(), 8))
    assert same_picture(before, picture(model))


@pytest.mark.parametrize("sizes", [(0, 4), (4, -1), (4.0, 4), (True, 4), ("4", 4)], ids=str)
def test_bad_sizes_of_a_layer_are_refused(sizes):
    with pytest.raises((TypeError, ValueError), match="features="):
        LoRALayer(*sizes)


def test_numpy_numbers_are_numbers(model):
    model.set_adapter({"default": np.float32(0.5), "finnish": np.int64(2)})
    assert model.active_adapters == {"default": 0.5, "finnish": 2.0}
    assert {type(weight) for weight in model.active_adapters.values()} == {float}


def test_an_adapter_can_be_named_with_any_other_word():
    x = numbers(2, 6)
    for word in ("a b", "ÄÖ", "x" * 100, "1", "shape", "lora_A", "_"):
        model = LoRAModel(mlp(), adapter_name=word)
        assert torch.equal(model(x), model.base_model(x))
        assert model.adapter_names == [word]


def test_the_layers_are_not_replaced_as_a_whole_where_no_hook_would_look(model):
    before = dict(model.lora_layers.items())
    with pytest.raises(AttributeError, match=r"model.lora_layers\[name\] = layer, or use add_adapter"):
        model.lora_layers = nn.ModuleDict()
    assert dict(model.lora_layers.items()) == before


@pytest.mark.parametrize("twin", ["Finnish", "FINNISH", "ﬁnnish"])
def test_two_names_that_are_one_folder_on_some_disks_are_refused(model, twin):
    before = picture(model)
    refused(ValueError, [repr(twin), "'finnish'", "file system"], lambda: model.add_adapter(twin))
    assert same_picture(before, picture(model))


def test_numpy_numbers_are_tokens():
    config = LoRAConfig(trainable_token_indices=np.array([1, 2]))
    assert config.trainable_token_indices == (1, 2) and {type(one) for one in config.trainable_token_indices} == {int}
