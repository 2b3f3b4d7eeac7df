"""Checks of notebook 03: options that adapt what they should, and hooks on every linear layer by hand."""

from collections.abc import Iterable
from copy import deepcopy

from lora_teach.bases.name_gpt import NameGPT
from lora_teach.exercises.check import check, compare, expect, finished
from lora_teach.layer import LoRALayer
from lora_teach.model import LoRAModel

import torch
from torch import nn

BUDGET = 10_000
WANTED = ["blocks.2.mlp.up_proj", "blocks.2.mlp.down_proj"]
CALL = "model(x) after overlay(model, layers)"
LATE = (
    "Every hook used the last layer. A function looks up a loop's variable when it is called, and by then the loop has "
    "ended. Bind it early: make each hook in a function that takes its layer."
)


@check
def check_options(options):
    """Check options for the MLP of NameGPT's last block at the highest rank that trains at most 10,000 numbers."""
    given = finished(options())
    keys = isinstance(given, dict) and set(given) == {"target_modules", "rank"}
    expect(keys, f"options() returns a dict with the keys target_modules and rank; came: {given!r}")
    with torch.random.fork_rng(devices=[]):
        model = LoRAModel(NameGPT(), **given)  # what it raises says what is wrong with the options
    rank, names = given["rank"], list(model.lora_layers)
    words = f"LoRAModel(base, target_modules={given['target_modules']!r}, rank={rank}).lora_layers"
    everywhere = [f"blocks.{block}.mlp.{kind}_proj" for block in range(3) for kind in ("up", "down")]
    mistakes = [
        (everywhere, "These are all three blocks: a list matches the ends of names. Name the block too."),
        ([f"blocks.2.attention.{kind}_proj" for kind in "qkvo"], "That is the attention of the last block."),
        (WANTED[:1], "down_proj is missing."),
        (WANTED[1:], "up_proj is missing."),
    ]
    compare(names, WANTED, f"the layers adapted, {words}", mistakes)
    mistakes = [
        (20, "That counts one of the two layers, or one factor of each. Both layers cost rank * 2 * (96 + 384)."),
        (3, "That is the highest rank for the MLPs of all three blocks: here one block is adapted."),
        *((low, f"{BUDGET - low * 960:,} numbers are left, and one rank more costs 960.") for low in range(1, 10)),
        *((high, f"It trains {high * 960:,} numbers, above the budget.") for high in range(11, 97)),
    ]
    compare(
        rank, 10, f"rank, with at most {BUDGET:,} numbers to train; this rank trains {model.count()[0]:,}", mistakes
    )
    return f"the MLP of the last block alone, and {model.count()[0]:,} of at most {BUDGET:,} numbers train."


@check
def check_overlay(overlay):
    """Check a function that hooks the linear layers of a model so that each output gains its own layer's update."""
    model, layers, x = _tower()
    base, plain = deepcopy(model), model(x)
    handles = finished(overlay(model, layers))
    last = dict.fromkeys(layers, list(layers.values())[-1])
    mistakes = [
        (plain, "That is the model without any update: a hook that returns None leaves the output as it is."),
        (_by_hand(base, last, x), LATE),
        (_by_hand(base, layers, x, keep=0.0), "Each output was replaced by its update: return output + update."),
        (_by_hand(base, layers, x, of_output=True), "The update was computed from the output. args[0] is the input."),
    ]
    compare(model(x), _by_hand(base, layers, x), CALL, mistakes)
    expect(
        str(model) == str(base), "The module tree changed. A hook stands beside a module: nothing has to be replaced."
    )
    kept = all(torch.equal(*pair) for pair in zip(model.parameters(), base.parameters(), strict=True))
    expect(kept, "The model's weights changed. A hook adds to the output and leaves the weights alone.")
    handles = list(handles) if isinstance(handles, Iterable) else [handles]
    returned = len(handles) == len(layers) and all(hasattr(handle, "remove") for handle in handles)
    expect(returned, f"Return the {len(layers)} handles that register_forward_hook gives; came: {handles!r:.60}")
    for handle in handles:
        handle.remove()
    expect(torch.equal(model(x), plain), "After handle.remove() on each handle the model should be the old one again.")
    return "each layer gains its own update, and removing the handles brings back the old model, bit for bit."


def _tower():
    """Return a model of equal layers, so that a mistaken layer fits; layers for all but the last; and an input."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        block = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
        model = nn.Sequential(nn.Linear(8, 8), block, nn.Linear(8, 8))
        layers = {name: LoRALayer(8, 8, rank=2) for name in ("0", "1.0", "1.2")}
        for layer in layers.values():
            layer.lora_B.normal_()
        return model, layers, torch.randn(4, 8)


def _by_hand(base, layers, x, keep=1.0, of_output=False):
    """Return the tower's output without any hook; ``keep`` and ``of_output`` make the usual mistakes."""

    def run(name, x):
        module = base.get_submodule(name)
        output = nn.functional.linear(x, module.weight, module.bias)  # (batch, 8)
        return keep * output + layers[name](output if of_output else x)

    x = run("1.2", torch.tanh(run("1.0", run("0", x))))
    return nn.functional.linear(x, base[2].weight, base[2].bias)
