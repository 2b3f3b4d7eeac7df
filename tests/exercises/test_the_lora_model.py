import copy
import functools
from collections import OrderedDict
from types import MappingProxyType

from lora_teach.exercises import TODO, check_options, check_overlay

import numpy as np
import pytest
import torch

BLOCK = r"blocks\.2\.mlp\..*"


def options(target_modules, rank):
    return check_options(lambda: {"target_modules": target_modules, "rank": rank})


@pytest.mark.parametrize("targets", [BLOCK, r"blocks\.2\.mlp\.(up|down)_proj", ["2.mlp.up_proj", "2.mlp.down_proj"]])
def test_right_options_pass(targets):
    result = options(targets, 10)
    assert result.passed and "9,600" in result.message


@pytest.mark.parametrize("stub", [{"target_modules": TODO, "rank": TODO}, {"target_modules": BLOCK, "rank": ...}])
def test_blank_options_are_todo(stub):
    assert check_options(lambda: stub).status == "TODO"


@pytest.mark.parametrize(
    ("targets", "rank", "words"),
    [
        (["up_proj", "down_proj"], 10, "all three blocks: a list matches the ends of names"),
        (r".*mlp.*_proj", 10, "all three blocks"),
        (r"blocks\.2\.attention\..*", 10, "the attention of the last block"),
        (["2.mlp.up_proj"], 10, "down_proj is missing"),
        (["blocks.2.mlp"], 10, "MLP is no linear layer"),
        ("up_proj", 10, "matches no module"),
        (r"blocks\.3\.mlp\..*", 10, "matches no module"),
        (BLOCK, 20, "counts one of the two layers"),
        (BLOCK, 3, "all three blocks: here one"),
        (BLOCK, 11, "10,560 numbers, above the budget"),
        (BLOCK, 13, "12,480 numbers, above the budget"),
        (BLOCK, 9, "1,360 numbers are left, and one rank more costs 960"),
        (BLOCK, 8, "this rank trains 7,680"),
        (BLOCK, 97, "at most 96"),
        (BLOCK, "10", "not a whole number"),
    ],
)
def test_usual_mistakes_in_options_are_named(targets, rank, words):
    result = options(targets, rank)
    assert result.status == "NOT YET" and words in result.message


@pytest.mark.parametrize("given", [None, {}, {"rank": 10}, 10, {"target_modules": BLOCK, "r": 10}])
def test_options_that_are_no_options_are_named(given):
    result = check_options(lambda: given)
    assert result.status == "NOT YET" and "the keys target_modules and rank" in result.message


def overlay(model, layers):
    def hook_for(layer):
        def hook(module, args, output):
            return output + layer(args[0])

        return hook

    return [model.get_submodule(name).register_forward_hook(hook_for(layer)) for name, layer in layers.items()]


def hooking(make):
    """An overlay whose hooks are what ``make(layer)`` returns."""
    return lambda model, layers: [
        model.get_submodule(name).register_forward_hook(make(layer)) for name, layer in layers.items()
    ]


def test_right_overlay_passes():
    assert check_overlay(overlay).passed


def test_overlay_with_a_default_argument_and_keywords_passes():
    def mine(model, layers):
        handles = []
        for name, module in model.named_modules():
            if name in layers:

                def hook(module, args, kwargs, output, layer=layers[name]):
                    return layer(args[0], output)

                handles.append(module.register_forward_hook(hook, with_kwargs=True))
        return handles

    assert check_overlay(mine).passed


def late(model, layers):
    handles = []
    for name, layer in layers.items():

        def hook(module, args, output):
            return output + layer(args[0])  # noqa: B023 — the mistake

        handles.append(model.get_submodule(name).register_forward_hook(hook))
    return handles


def wrapping(model, layers):
    class Both(torch.nn.Module):
        def __init__(self, linear, layer):
            super().__init__()
            self.linear, self.layer = linear, layer

        def forward(self, x):
            return self.linear(x) + self.layer(x)

    for name, layer in layers.items():
        model.set_submodule(name, Both(model.get_submodule(name), layer))
    return []


def folding(model, layers):
    with torch.no_grad():
        for name, layer in layers.items():
            model.get_submodule(name).weight += layer.delta_weight()
    return []


def says_nothing(model, layers):
    overlay(model, layers)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (late, "Every hook used the last layer"),
        (hooking(lambda layer: lambda module, args, output: None), "a hook that returns None"),
        (lambda model, layers: [], "the model without any update"),
        (hooking(lambda layer: lambda module, args, output: layer(args[0])), "return output + update"),
        (hooking(lambda layer: lambda module, args, output: output + layer(output)), "args[0] is the input"),
        (hooking(lambda layer: lambda module, args, output: output + layer(args)), "the code raised"),
        (hooking(lambda layer: lambda module, args: args[0]), "the code raised TypeError"),
        (wrapping, "The module tree changed"),
        (folding, "The model's weights changed"),
        (says_nothing, "Return the 3 handles that register_forward_hook gives; came: [None]"),
        (lambda model, layers: [*overlay(model, layers)][:2], "Return the 3 handles"),
    ],
)
def test_usual_mistakes_in_overlays_are_named(mistake, words):
    result = check_overlay(mistake)
    assert result.status == "NOT YET" and words in result.message


def test_check_leaves_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    check_overlay(overlay)
    options(BLOCK, 10)
    assert torch.rand(1) == expected


@pytest.mark.parametrize(
    "given",
    [
        OrderedDict(rank=10, target_modules=r".*2\.mlp\..*"),
        {"target_modules": [f"blocks.2.mlp.{kind}_proj" for kind in ("down", "up")], "rank": 10},
        {"target_modules": ("2.mlp.up_proj", "2.mlp.down_proj"), "rank": 10},
        {"target_modules": BLOCK, "rank": np.int64(10)},
        {"target_modules": BLOCK, "rank": 10, "alpha": 20},
        MappingProxyType({"target_modules": r"blocks\.2\.mlp\.(up|down)_proj", "rank": 10}),
    ],
    ids=str,
)
def test_unusual_right_options_pass(given):
    result = check_options(lambda: given)
    assert result.passed, result.message


@pytest.mark.parametrize(
    "given",
    [
        {"target_modules": BLOCK, "rank": 10.5},
        {"target_modules": BLOCK, "rank": True},
        {"target_modules": BLOCK, "rank": -10},
        {"target_modules": None, "rank": 10},
        {"target_modules": "all-linear", "rank": 10},
        {"target_modules": [], "rank": 10},
        {"target_modules": BLOCK, "rank": 10, "modules_to_save": ["head"]},
        {"target_modules": BLOCK, "rank": 10, "learnable_scaling": True},
        {"target_modules": r"blocks\.1\.mlp\..*", "rank": 10},
        {"target_modules": BLOCK, "rank": 10, "no_such_option": 1},
        [BLOCK, 10],
        (BLOCK, 10),
    ],
    ids=str,
)
def test_wrong_options_do_not_pass(given):
    assert check_options(lambda: given).status == "NOT YET"


class Adding:
    def __init__(self, layer):
        self.layer = layer

    def __call__(self, module, args, output):
        return self.layer(*args, output)


def bound_late(layer, module, args, output):
    return torch.add(output, layer(args[0]))


def as_a_dict(model, layers):
    return dict(zip(layers, overlay(model, layers), strict=True))


RIGHT = {
    "a class": hooking(Adding),
    "partial": hooking(lambda layer: functools.partial(bound_late, layer)),
    "in place": hooking(lambda layer: lambda module, args, output: output.add_(layer(args[0]))),
    "by weight": hooking(lambda layer: lambda module, args, output: output + args[0] @ layer.delta_weight().T),
    "einsum": hooking(
        lambda layer: (
            lambda module, args, output: (
                output + layer.scaling * torch.einsum("...i,ir,ro->...o", args[0], layer.lora_A, layer.lora_B)
            )
        )
    ),
    "base_output": hooking(lambda layer: lambda m, i, o: layer(i[0], base_output=o)),
    "a tuple": lambda net, adapters: tuple(overlay(net, adapters)),
    "a dict": as_a_dict,
    "a generator": lambda model, layers: iter(overlay(model, layers)),
}


@pytest.mark.parametrize("right", RIGHT.values(), ids=RIGHT)
def test_unusual_right_overlays_pass(right):
    result = check_overlay(right)
    assert result.passed, result.message


def without_gradients(layer):
    def hook(module, args, output):
        with torch.no_grad():
            return output + layer(args[0])

    return hook


def added_without_gradients(layer):
    def hook(module, args, output):
        with torch.no_grad():
            update = layer(args[0])
        return output + update

    return hook


def by_order(model, layers):
    linears = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    return [
        linear.register_forward_hook(without_names(layer))
        for linear, layer in zip(linears, layers.values(), strict=False)
    ]


def without_names(layer):
    return lambda module, args, output: output + layer(args[0])


def computed_at_once(layer):
    delta = layer.delta_weight()
    return lambda module, args, output: output + args[0] @ delta.T


def by_data(layer):
    return lambda module, args, output: output + layer.scaling * args[0] @ layer.lora_A.data @ layer.lora_B.data


def registering_modules(model, layers):
    handles = overlay(model, layers)
    for name, layer in layers.items():
        model.get_submodule(name).lora = layer
    return handles


def unfreezing(model, layers):
    model.requires_grad_(True)
    return overlay(model, layers)


def only_the_first(model, layers):
    name = next(iter(layers))
    return overlay(model, {name: layers[name]})


def removing(model, layers):
    handles = overlay(model, layers)
    for handle in handles:
        handle.remove()
    return handles


def training_first(model, layers):
    with torch.no_grad():
        for layer in layers.values():
            layer.lora_B.mul_(2)
    return overlay(model, layers)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (hooking(without_gradients), "gradient"),
        (hooking(added_without_gradients), "gradient"),
        (hooking(lambda layer: lambda m, args, output: output + layer(args[0]).detach()), "gradient"),
        (hooking(lambda layer: lambda m, args, output: output + layer(args[0].detach())), "x gets another gradient"),
        (hooking(lambda layer: lambda m, args, output: output.detach() + layer(args[0])), "gradient"),
        (hooking(by_data), "gradient"),
        (by_order, "each belongs to the module of its name"),
        (hooking(computed_at_once), "when the layers have learned more"),
        (hooking(lambda layer: lambda m, i, o: o + i[0] @ layer.lora_A @ layer.lora_B), "case 2 of 3"),
        (hooking(lambda layer: lambda m, i, o: o + layer(i[0].view(4, -1)).view_as(o)), "case 3 of 3"),
        (lambda model, layers: overlay(model, layers) + overlay(model, layers), "came"),
        (registering_modules, "The module tree changed"),
        (unfreezing, "The model's weights changed"),
        (only_the_first, "came"),
        (removing, "the model without any update"),
        (training_first, "The model's weights changed"),
        (lambda model, layers: overlay(copy.deepcopy(model), layers), "the model without any update"),
        (hooking(lambda layer: lambda m, i, o: o - layer(i[0])), "came"),
        (hooking(lambda layer: copy.deepcopy(Adding(layer))), "gradient"),
    ],
)
def test_wrong_overlays_do_not_pass(wrong, words):
    result = check_overlay(wrong)
    assert result.status == "NOT YET" and words in result.message
