import copy
import functools

from lora_teach.exercises import TODO, check_adapt, check_overlay, ready_made
from lora_teach.layer import LoRALayer

import pytest
import torch


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
    assert torch.rand(1) == expected


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
        (hooking(lambda layer: lambda m, i, o: o + layer(i[0]) if m.training else o), "a hook that returns None"),
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


def adapting(freeze=True, chosen=None, make=LoRALayer, lay=overlay, after=lambda model, layers: layers):
    """An adapt whose parts can be exchanged for wrong ones."""

    def adapt(model, rank, alpha):
        if freeze:
            model.requires_grad_(False)
        tables = [m.weight for m in model.modules() if isinstance(m, torch.nn.Embedding)]
        uncalled = [m.out_proj for m in model.modules() if isinstance(m, torch.nn.MultiheadAttention)]
        layers = {}
        for name, module in model.named_modules():
            linear = isinstance(module, torch.nn.Linear)
            right = linear and module not in uncalled and not any(module.weight is one for one in tables)
            if right if chosen is None else linear and chosen(name, module, right):
                layers[name] = make(module.in_features, module.out_features, rank, alpha)
        lay(model, layers)
        return after(model, layers)

    return adapt


def by_parents(model, rank, alpha):
    """Finds what is tied and never called in another way."""
    for parameter in model.parameters():
        parameter.requires_grad = False
    owners = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(module)
    layers = {}
    for parent_name, parent in model.named_modules():
        for name, module in parent.named_children():
            if isinstance(module, torch.nn.Linear) and not isinstance(parent, torch.nn.MultiheadAttention):
                if len(owners[id(module.weight)]) == 1:
                    path = f"{parent_name}.{name}".lstrip(".")
                    layers[path] = LoRALayer(module.in_features, module.out_features, rank, alpha)
    ready_made.overlay(model, layers)
    return layers


def through_keywords(module, args, kwargs, output, layer=None):
    return layer(*args, **kwargs, base_output=output)


def by_partial(model, layers):
    for name, layer in layers.items():
        hook = functools.partial(through_keywords, layer=layer)
        model.get_submodule(name).register_forward_hook(hook, with_kwargs=True)


RIGHT_ADAPTS = {
    "the usual": adapting(),
    "the library's": ready_made.adapt,
    "by parents": by_parents,
    "hooks by partial": adapting(lay=by_partial),
    "frozen again at the end": adapting(after=lambda model, layers: model.requires_grad_(False) and layers),
    "a ModuleDict's own kind of mapping": adapting(after=lambda model, layers: dict(sorted(layers.items()))),
}


@pytest.mark.parametrize("right", RIGHT_ADAPTS.values(), ids=RIGHT_ADAPTS)
def test_right_adapts_pass(right):
    result = check_adapt(right)
    assert result.passed, result.message


@pytest.mark.parametrize("stub", [TODO, lambda model, rank, alpha: TODO, adapting(make=lambda *sizes: TODO)])
def test_blank_adapts_are_todo(stub):
    assert check_adapt(stub).status == "TODO"


def norms_forgotten(model, layers):
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.requires_grad_(True)
    return layers


def by_names(model, layers):
    for name, parameter in model.named_parameters():
        if "weight" in name or "bias" in name:
            parameter.requires_grad_(False)
    return layers


def awake(*sizes):
    layer = LoRALayer(*sizes)
    torch.nn.init.normal_(layer.lora_B)
    return layer


def stored_in_the_model(model, layers):
    model.layers = torch.nn.ModuleList(layers.values())
    return layers


def all_frozen(model, layers):
    for layer in layers.values():
        layer.requires_grad_(False)
    return layers


def tied_by_numbers(model, rank, alpha):
    tables = [m.weight for m in model.modules() if isinstance(m, torch.nn.Embedding)]
    different = lambda name, module, right: right and not any(torch.equal(module.weight, one) for one in tables)  # noqa: E731
    return adapting(chosen=different)(model, rank, alpha)


def tied_to_the_first(model, rank, alpha):
    first = next(m.weight for m in model.modules() if isinstance(m, torch.nn.Embedding))
    chosen = lambda name, module, right: name != "attention.out_proj" and module.weight is not first  # noqa: E731
    return adapting(chosen=chosen)(model, rank, alpha)


def one_for_each_size(model, rank, alpha):
    layers = {}
    return adapting(make=lambda *sizes: layers.setdefault(sizes, LoRALayer(*sizes)))(model, rank, alpha)


def half_weights(model, layers):
    with torch.no_grad():
        model.out_proj.weight.mul_(1.0001)
    return layers


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (adapting(freeze=False), "of the model still trains"),
        (adapting(freeze=False, after=by_names), "scale of the model still trains"),
        (adapting(after=norms_forgotten), "norms and biases too"),
        (adapting(after=all_frozen), "does not train"),
        (adapting(chosen=lambda name, module, right: True), "never calls it"),
        (adapting(chosen=lambda name, module, right: right or name == "head"), "its weight is the table's too"),
        (adapting(chosen=lambda name, module, right: right and name != "head"), "the head has a weight of its own"),
        (adapting(chosen=lambda name, module, right: right and "." not in name), "Look in the containers too"),
        (adapting(chosen=lambda name, module, right: right and type(module) is torch.nn.Linear), "ask isinstance"),
        (adapting(chosen=lambda name, module, right: right and name != "out_proj"), "out_proj has no layer"),
        (adapting(chosen=lambda name, module, right: right and not name.endswith("out_proj")), "this one is"),
        (adapting(make=lambda i, o, r, alpha: LoRALayer(o, i, r, alpha)), "the wrong way round"),
        (adapting(make=lambda i, o, r, alpha: LoRALayer(i, o, r)), "the scaling at"),
        (adapting(make=lambda i, o, r, alpha: LoRALayer(i, o, 1, alpha)), "is expected"),
        (adapting(make=awake), "right after adapt"),
        (adapting(make=lambda i, o, r, alpha: torch.nn.Linear(i, o)), "make it a MyLayer"),
        (adapting(lay=lambda model, layers: None), "No update arrives"),
        (adapting(lay=late), "raised"),
        (adapting(lay=lambda model, layers: [overlay(model, layers), overlay(model, layers)]), "arrives twice"),
        (adapting(after=stored_in_the_model), "The module tree changed"),
        (adapting(after=half_weights), "weights changed"),
        (tied_by_numbers, "though its numbers are the table's"),
        (tied_to_the_first, "its weight is the table's too"),
        (one_for_each_size, "One layer serves several modules"),
        (adapting(after=lambda model, layers: model.eval() and layers), "train() or eval() was called"),
        (adapting(make=lambda i, o, r, alpha: LoRALayer(i, o, alpha, r)), "Rank comes before alpha"),
        (adapting(after=lambda model, layers: list(layers.values())), "Return the dict"),
        (adapting(after=lambda model, layers: None), "Return the dict"),
    ],
)
def test_wrong_adapts_do_not_pass(wrong, words):
    result = check_adapt(wrong)
    assert result.status == "NOT YET" and words in result.message, result.message
