"""Checks of notebook 03: options that adapt what they should, and hooks on every linear layer by hand."""

from collections.abc import Iterable, Mapping
from copy import deepcopy

from lora_teach.bases.name_gpt import NameGPT
from lora_teach.exercises.check import Draw, attempt, cases, check, compare, describe, expect, run
from lora_teach.model import LoRAModel

import torch
from torch import nn

BUDGET = 10_000
WANTED = ["blocks.2.mlp.up_proj", "blocks.2.mlp.down_proj"]
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
def check_options(options):
    """Check options for the MLP of NameGPT's last block at the highest rank that trains at most 10,000 numbers."""
    given = attempt(options)
    keys = isinstance(given, Mapping) and {"target_modules", "rank"} <= set(given)
    expect(keys, f"options() returns a dict with the keys target_modules and rank; came: {describe(given)}")
    model = run(LoRAModel, NameGPT(), **given)  # what it raises says what is wrong with the options
    rank, names = given["rank"], list(model.lora_layers)
    everywhere = [f"blocks.{block}.mlp.{kind}_proj" for block in range(3) for kind in ("up", "down")]
    mistakes = [
        (everywhere, "These are all three blocks: a list matches the ends of names. Name the block too."),
        ([f"blocks.2.attention.{kind}_proj" for kind in "qkvo"], "That is the attention of the last block."),
        (WANTED[:1], "down_proj is missing."),
        (WANTED[1:], "up_proj is missing."),
        *(
            ([f"blocks.{block}.mlp.{kind}_proj" for kind in ("up", "down")], f"That is block {block}: the last is 2.")
            for block in range(2)
        ),
    ]
    compare(names, WANTED, mistakes, what=f"the layers adapted by target_modules={describe(given['target_modules'])}")
    mistakes = [
        (20, "That counts one of the two layers, or one factor of each. Both layers cost rank * 2 * (96 + 384)."),
        (3, "That is the highest rank for the MLPs of all three blocks: here one block is adapted."),
        *((low, f"{BUDGET - low * 960:,} numbers are left, and one rank more costs 960.") for low in range(1, 10)),
        *((high, f"It trains {high * 960:,} numbers, above the budget.") for high in range(11, 97)),
    ]
    trained = model.count()[0]
    compare(rank, 10, mistakes, what=f"rank, with at most {BUDGET:,} numbers to train; this rank trains {trained:,}")
    expect(trained == 9600, f"{trained:,} numbers train, and the two layers have 9,600: leave the other options out.")
    return f"the MLP of the last block alone, and {trained:,} of at most {BUDGET:,} numbers train."


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
    model = nn.Sequential(one, nn.Sequential(two, nn.Tanh(), three), four)
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
