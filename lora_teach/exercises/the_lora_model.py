"""Checks of notebook 03: hooks on a model's layers by hand, and all of a model adapted."""

from collections.abc import Iterable, Mapping
from copy import deepcopy

from lora_teach.exercises.check import Draw, attempt, cases, check, compare, describe, expect, run

import torch
from torch import nn

AFTERWARDS = "model(x) after overlay(model, layers)"
LATE = (
    "Every hook used the last layer. A function looks up a loop's variable when it is called, and by then the loop has "
    "ended. Bind it early: make each hook in a function that takes its layer."
)
NO_GRADIENT = (
    "gets another gradient than by the formula, or none: no_grad, .detach() or .data in a hook, or an update that was "
    "computed before the hook is called, cuts it off."
)


@check
def check_adapt(adapt):
    """Check ``adapt(model, rank, alpha)``: freeze, make a layer for each linear layer that can be adapted, hook."""
    for tied, rank, alpha in cases([(True, 2, 4), (False, 3, 3), (True, 1, 2)]):
        base = _Small(tied, Draw(rank))
        model, tokens = deepcopy(base), torch.arange(6).view(2, 3) % 5  # (batch, seq)
        before = base(tokens).detach()
        layers = attempt(adapt, ("model",), model=model, rank=rank, alpha=alpha)
        _check_layers(layers, base, tied, rank, alpha)
        training = [name for name, one in model.named_parameters() if one.requires_grad and "lora" not in name]
        expect(
            not training,
            f"{', '.join(training[:3])} of the model still trains: freeze all of it, norms and biases too.",
        )
        expect(str(model) == str(base), "The module tree changed. A hook stands beside a module: nothing is replaced.")
        modes = [[one.training for one in of.modules()] for of in (model, base)]
        expect(modes[0] == modes[1], "train() or eval() was called: nothing else in the model changes.")
        expect(model.state_dict().keys() == base.state_dict().keys(), "The model's own parameters have other names.")
        same = all(torch.equal(one, base.state_dict()[name]) for name, one in model.state_dict().items())
        expect(same, "The model's weights changed. A hook adds to the output and leaves the weights alone.")
        got = run(model, tokens)
        compare(
            got, before, what="model(x) right after adapt: every B is zero, so nothing may change", rtol=1e-4, atol=1e-4
        )
        stuck = [
            f"{name}.{kind}"
            for name in layers
            for kind, one in layers[name].named_parameters()
            if not one.requires_grad
        ]
        expect(
            not stuck, f"{', '.join(stuck[:2])} does not train: freeze the model before its layers are made, or alone."
        )
        _check_hooks(model, base, layers, tokens)
    return "all linear layers but a tied head and what is never called; frozen, hooked, and unchanged at first."


class _Small(nn.Module):
    """A model with two tables, a head that may be tied to the second, PyTorch's attention, and twice the same block."""

    def __init__(self, tied, draw):
        super().__init__()
        self.head = nn.Linear(6, 5, bias=not tied)
        self.positions = nn.Embedding(3, 6)
        self.table = nn.Embedding(5, 6)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 9), nn.Tanh(), _Own(9, 6)) for _ in range(2)
        )
        self.out_proj = nn.Linear(6, 6)
        self.norm = nn.LayerNorm(6)
        self.scale = nn.Parameter(torch.ones(6))
        if tied:
            self.head.weight = self.table.weight
        with torch.no_grad():
            for one in self.parameters():
                one.copy_(draw.matrix(*one.shape))
            self.head.weight.copy_(self.table.weight)  # as many numbers as the table's, tied or not

    def forward(self, tokens):
        x = self.table(tokens) + self.positions.weight[: tokens.shape[1]]  # (batch, seq, 6)
        x = self.scale * self.norm(x + self.attention(x, x, x, need_weights=False)[0])
        for block in self.blocks:
            x = x + block(x)
        return self.head(torch.tanh(self.out_proj(x)))


class _Own(nn.Linear):
    """A linear layer of a class of its own, as many libraries have."""


def _check_layers(layers, base, tied, rank, alpha):
    """The layers that adapt returns are the right ones, and of the right sizes."""
    expect(isinstance(layers, Mapping), f"Return the dict, module name → layer; came: {describe(layers)}")
    linear = {name: one for name, one in base.named_modules() if isinstance(one, nn.Linear)}
    wanted = {name for name in linear if name != "attention.out_proj" and not (tied and name == "head")}
    found = set(layers)
    why = {
        "attention.out_proj": "nn.MultiheadAttention reads the weight of its out_proj and never calls it.",
        "head": "its weight is the table's too: merging would change both.",
    }
    for name in sorted(found - wanted):
        expect(False, f"{name} has a layer: {why.get(name, 'it is no linear layer of the model.')}")
    kinds = {
        "blocks.0.1": "Look in the containers too: named_modules() goes all the way down.",
        "blocks.0.3": "A subclass of nn.Linear is an nn.Linear: ask isinstance.",
        "out_proj": "Only the out_proj inside an nn.MultiheadAttention is never called; this one is.",
        "head": "Here the head has a weight of its own, though its numbers are the table's. Compare the tensors "
        "themselves: module.weight is table.weight.",
    }
    for name in sorted(wanted - found):
        expect(False, f"{name} has no layer. {kinds.get(name, 'It is an nn.Linear like the others.')}")
    expect(
        len({id(one) for one in layers.values()}) == len(layers), "One layer serves several modules: make one for each."
    )
    for name, layer in layers.items():
        module = linear[name]
        A, B, scaling = (getattr(layer, one, None) for one in ("lora_A", "lora_B", "scaling"))
        expect(A is not None and B is not None, f"{name} has {describe(layer)}: make it a MyLayer.")
        shapes, right = (tuple(A.shape), tuple(B.shape)), ((module.in_features, rank), (rank, module.out_features))
        hint = " In and out are the wrong way round." if shapes == (right[1][::-1], right[0][::-1]) else ""
        hint = hint or (" Rank comes before alpha." if alpha != rank and A.shape[-1] == alpha else "")
        expect(shapes == right, f"{name}: A and B came as {shapes}, and {right} is expected.{hint}")
        compare(float(scaling), alpha / rank, what=f"the scaling at {name}; pass rank and alpha on")


def _check_hooks(model, base, layers, tokens):
    """Each layer's update is added to its own module's output, and its factors get a gradient."""
    draw = Draw(9)
    with torch.no_grad():
        for layer in layers.values():
            layer.lora_B.copy_(draw.matrix(*layer.lora_B.shape))
    right = deepcopy(base)
    for name, layer in layers.items():
        update = (layer.scaling * layer.lora_A @ layer.lora_B).detach()

        def added(module, args, output, update=update):
            return output + args[0] @ update

        right.get_submodule(name).register_forward_hook(added)
    expected = right(tokens).detach()
    output = run(model, tokens)
    alone = base(tokens).detach()
    for name, layer in layers.items():
        twice = (layer.scaling * layer.lora_A @ layer.lora_B).detach()
        right.get_submodule(name).register_forward_hook(lambda m, args, output, twice=twice: output + args[0] @ twice)
    mistakes = [(alone, "No update arrives: has overlay(model, layers) been called?")]
    mistakes.append((right(tokens).detach(), "Each update arrives twice: call overlay(model, layers) once."))
    compare(output, expected, mistakes,
            what="model(x) when the layers have learnt", rtol=1e-4, atol=1e-4)  # fmt: skip
    expect(output.requires_grad, "The output has no gradient: leave no_grad and .detach() out of the hooks.")
    got = torch.autograd.grad(output.square().sum(), [one.lora_A for one in layers.values()], allow_unused=True)
    missing = [name for name, one in zip(layers, got, strict=True) if one is None]
    expect(not missing, f"The A of {missing[:1]} gets no gradient.")


@check
def check_overlay(overlay):
    """Check a function that hooks the linear layers of a model so that each output gains its own layer's update."""
    for sizes, names, scaling in cases(
        [([8] * 5, ["0", "1.0", "1.2"], 1.0), ([6] * 5, ["2", "0", "1.2"], 0.5), ([5, 7, 4, 6, 3], ["1.2", "0"], 2.0)]
    ):
        base, layers, x = _tower(sizes, names, scaling)
        model, before = deepcopy(base), deepcopy(layers)
        handles = attempt(overlay, ("model", "layers"), model=model, layers=layers)
        compare(run(model, x), _by_hand(base, layers, x), _wrong_outputs(base, layers, x), what=AFTERWARDS)
        expect(
            str(model) == str(base),
            "The module tree changed. A hook stands beside a module: nothing has to be replaced.",
        )
        same = _state(model, layers) == _state(base, before)
        expect(same, "The model's weights changed. A hook adds to the output and leaves the weights alone.")
        _check_gradients(model, base, layers, x)
        with torch.no_grad():
            for layer in layers.values():
                layer.lora_B.mul_(-2)  # as training would
        compare(run(model, x), _by_hand(base, layers, x), what=f"{AFTERWARDS}, when the layers have learned more")
        handles = handles.values() if isinstance(handles, Mapping) else handles
        handles = list(handles) if isinstance(handles, Iterable) else [handles]
        returned = len(handles) == len(layers) and all(hasattr(handle, "remove") for handle in handles)
        expect(
            returned,
            f"Return the {len(layers)} handles that register_forward_hook gives; came: {describe(handles)}",
        )
        for handle in handles:
            run(handle.remove)
        expect(
            torch.equal(run(model, x), base(x)),
            "After handle.remove() on each handle the model should be the old one again.",
        )
    return "each layer gains its own update, and removing the handles brings back the old model, bit for bit."


def _state(model, layers):
    """Return all numbers and whether they train, to be compared."""
    parameters = [*model.parameters(), *(one for layer in layers.values() for one in layer.parameters())]
    return [(one.tolist(), one.requires_grad) for one in parameters]


def _check_gradients(model, base, layers, x):
    """Each layer's A and B get the gradients that the formula gives, and so does x."""
    parameters = {
        f"{name}.{kind}": getattr(layer, kind) for name, layer in layers.items() for kind in ("lora_A", "lora_B")
    }
    inputs = [x.clone().requires_grad_(), *parameters.values()]
    right = torch.autograd.grad(_by_hand(base, layers, inputs[0]).square().sum(), inputs)
    output = run(model, inputs[0])
    expect(output.requires_grad, f"The output {NO_GRADIENT}")
    got = torch.autograd.grad(output.square().sum(), inputs, allow_unused=True)
    for name, one, wanted in zip(["x", *parameters], got, right, strict=True):
        same = one is not None and torch.allclose(one, wanted, rtol=1e-3, atol=1e-4)
        expect(same, f"{name} {NO_GRADIENT}")


def _tower(sizes, names, scaling):
    """Return a model of four linear layers with these sizes between them; layers for those named; and an input."""
    draw, paths = Draw(sizes[0]), ("0", "1.0", "1.2", "2")
    one, two, three, four = (nn.Linear(*pair).requires_grad_(False) for pair in zip(sizes[:-1], sizes[1:], strict=True))
    model = nn.Sequential(one, nn.Sequential(two, nn.Tanh(), three), four).train(scaling != 0.5)  # in either mode
    places = {path: paths.index(path) for path in names}
    layers = {path: draw.layer(sizes[at], sizes[at + 1], 2, scaling) for path, at in places.items()}
    return model, layers, draw.matrix(4, sizes[0]) if scaling != 2 else draw.matrix(2, 4, sizes[0])


def _wrong_outputs(base, layers, x):
    """Pairs (a usual wrong output, what to say to who gave it)."""
    last, names = dict.fromkeys(layers, list(layers.values())[-1]), sorted(layers)
    try:
        return [
            (base(x), "That is the model without any update: a hook that returns None leaves the output as it is."),
            (_by_hand(base, layers, x, keep=0.0), "Each output was replaced by its update: return output + update."),
            (_by_hand(base, last, x), LATE),
            (_by_hand(base, layers, x, of_output=True), "The update is of the output. args[0] is the input."),
            *(
                (_by_hand(base, dict(zip(order, layers.values(), strict=False)), x),
                 "The layers went to the linear layers in their order: each belongs to the module of its name.")
                for order in (names, ["0", "1.0", "1.2", "2"])
            ),
        ]  # fmt: skip
    except RuntimeError:  # layers of other sizes fit nowhere else
        return []


def _by_hand(base, layers, x, keep=1.0, of_output=False):
    """Return the tower's output without any hook; ``keep`` and ``of_output`` make the usual mistakes."""

    def through(name, x):
        module = base.get_submodule(name)
        output = nn.functional.linear(x, module.weight, module.bias)  # (…, out_features)
        return keep * output + layers[name](output if of_output else x) if name in layers else output

    return through("2", through("1.2", torch.tanh(through("1.0", through("0", x)))))
