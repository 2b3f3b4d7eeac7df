"""Thousands of moves, hundreds of trainings, dozens of adapters: memory stays flat, answers right, nothing is left.

LORA_TEACH_LOAD=1 pytest -n0 -s tests/faults/test_load.py  moves 20,000 times and trains 200 times, in place of 600 and
20, and prints the memory before and after.
"""

import gc
import os
import random
from pathlib import Path

from lora_teach import LoRAModel, training_steps
from lora_teach.live import explore
from lora_teach.pictures.keyhole import Keyhole
from lora_teach.pictures.turn_it_down import TurnItDown
from tests.live.toy import Toy
from tests.toy import TinyGPT, bits, mlp, numbers, pairs, same_bits, tokens

import ipywidgets
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

WHOLE = "LORA_TEACH_LOAD" in os.environ
MOVES, TRAININGS, ADAPTERS = (20_000, 200, 50) if WHOLE else (600, 20, 50)
WARM_UP = MOVES // 3
MEGABYTE, STATM = 2**20, Path("/proc/self/statm")
ROOM = 10 * MEGABYTE  # for what Python and the allocator keep of themselves


def alive(kind):
    """How many objects of a kind there are."""
    gc.collect()
    return sum(issubclass(type(thing), kind) for thing in gc.get_objects())


def resident():
    """Bytes of memory that this process holds."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def toy():
    return explore(Toy(), speed=(1, 12, 3), height=(0.0, 3.0, 1.0), colour=["blue", "orange"])


def told(what, before, after):
    print(f"\n{what}: {before / MEGABYTE:.0f} MB before, {after / MEGABYTE:.0f} MB after")
    assert after - before < ROOM, what


@pytest.mark.skipif(not STATM.exists(), reason="the memory that a process holds is read from /proc")
def test_moves_over_three_explorers_leave_memory_flat_answers_right_and_no_figure():
    chance = random.Random(0)
    makers = [lambda: explore(Keyhole()), lambda: explore(TurnItDown()), toy]
    figures, before = alive(Figure), 0
    explorers = [make() for make in makers]
    widgets = len(ipywidgets.widgets.widget._instances)
    parts = [len(explorer.picture.figure.findobj()) for explorer in explorers]
    for number in range(MOVES):
        explorer = explorers[number % 3]
        name, places = chance.choice(list(explorer.limits().items()))
        explorer.controls[name].value = chance.choice(list(places))
        if number == WARM_UP:
            gc.collect()
            before = resident()
    images = [len(child.value) for one in explorers for child in one.children if isinstance(child, ipywidgets.Image)]
    assert (MOVES - WARM_UP) * sum(images) / 3 > 2.5 * ROOM  # so that frames kept by somebody would be seen
    gc.collect()
    told(f"{MOVES - WARM_UP} moves", before, resident())
    assert [len(explorer.picture.figure.findobj()) for explorer in explorers] == parts
    assert alive(Figure) == figures + 3 and len(ipywidgets.widgets.widget._instances) == widgets
    for explorer, make in zip(explorers, makers, strict=True):
        assert explorer.error is None
        fresh = make()
        assert explorer.sentence == fresh.move(**explorer.values)
        fresh.close()
        explorer.close()


@pytest.mark.skipif(not STATM.exists(), reason="the memory that a process holds is read from /proc")
def test_trainings_started_and_stopped_leave_memory_flat_and_no_hook():
    base = TinyGPT(tied=False)
    pristine, before, tensors = bits(base), 0, 0

    def loss_fn(output, targets):
        return nn.functional.cross_entropy(output.flatten(0, 1), targets.flatten())

    for number in range(TRAININGS):
        model = LoRAModel(base, rank=2)
        steps = training_steps(model, [(tokens(), tokens(seed=5))], loss_fn, steps=6, lr=1e-2)
        for step in steps:
            if number % 3 and step.index == 1 + number % 5:
                steps.close()
                break
        model.remove()
        if number == TRAININGS // 2:
            tensors, before = alive(torch.Tensor), resident()
    assert alive(torch.Tensor) <= tensors
    told(f"{TRAININGS - TRAININGS // 2} trainings", before, resident())
    assert same_bits(bits(base), pristine)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in base.modules())


def test_fifty_adapters_on_one_base_answer_each_for_itself_and_leave_nothing():
    base, x = mlp().double(), numbers(5, 6, dtype=torch.float64)
    pristine, without = bits(base), base(x)
    model, wanted = LoRAModel(base, rank=1), {}
    for number in range(ADAPTERS):
        name = f"a{number}"
        model.add_adapter(name, rank=1 + number % 4)
        model.set_adapter(name)
        batches = [(one.double(), other.double() + number) for one, other in pairs()]
        list(training_steps(model, batches, nn.functional.mse_loss, steps=2, lr=0.1))
        wanted[name] = model(x).detach()
    assert len(torch.stack(list(wanted.values())).unique(dim=0)) == ADAPTERS
    for name in random.Random(1).sample(sorted(wanted), ADAPTERS):
        model.set_adapter(name)
        assert torch.equal(model(x), wanted[name])
    names = sorted(wanted)[:5]
    with model.rows(names):
        rows = model(x)
    for row, name in enumerate(names):
        assert torch.allclose(rows[row], wanted[name][row], atol=1e-12)
    hooked = [module for module in base.modules() if module._forward_hooks]
    assert all(len(module._forward_hooks) == 1 for module in hooked) and len(hooked) == 2
    for name in sorted(wanted):
        model.delete_adapter(name)
    model.set_adapter(None)
    assert torch.equal(model(x), without)
    model.remove()
    assert same_bits(bits(base), pristine) and not any(module._forward_hooks for module in base.modules())
