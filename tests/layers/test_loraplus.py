"""LoRA+: the groups are PEFT's, for every kind of parameter, and training uses them."""

import warnings

from lora_teach import LoRAModel, train
from lora_teach.layers.loraplus import loraplus_groups
from tests.toy import TinyGPT, bits, mlp, pairs, tokens

import pytest
import torch
from torch import nn

peft = pytest.importorskip("peft")


def rates(model, groups, plain=lambda name: name):
    """``{name of a parameter: (rate, weight decay)}``."""
    names = {id(p): plain(name) for name, p in model.named_parameters()}
    return {names[id(p)]: (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}


def ours(name):
    """The path of the module and the part, as in `theirs`."""
    for saved in ("adapters.default.", "saved_modules.default."):
        name = name.removeprefix(saved)
    return name.replace(".weight", "")


def theirs(name):
    name = name.removeprefix("base_model.model.").replace(".default", "").replace(".modules_to_save", "")
    name = name.replace("lora_embedding_", "lora_").replace("lora_magnitude_vector", "magnitude")
    return name.replace(".weight", "")


SETUPS = {
    "linear": ({}, {}),
    "embedding, norm and bias": (
        {"target_modules": ["embedding", "q_proj"], "modules_to_save": ["norm", "head"]},
        {},
    ),
    "dora": ({"target_modules": ["q_proj"], "variant": "dora"}, {"use_dora": True}),
}


@pytest.mark.parametrize("kind", SETUPS)
def test_the_groups_are_pefts(kind):
    options, more = SETUPS[kind]
    options = {"target_modules": ["q_proj", "v_proj"]} | options
    model = LoRAModel(TinyGPT(tied=False), **options)
    options = {key: value for key, value in options.items() if key != "variant"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin = peft.get_peft_model(TinyGPT(tied=False), peft.LoraConfig(r=4, **options, **more))
    from peft.optimizers import create_loraplus_optimizer

    optimizer = create_loraplus_optimizer(
        twin, torch.optim.AdamW, lr=2e-4, loraplus_lr_ratio=16, loraplus_weight_decay=0.1
    )
    groups = loraplus_groups(model, 2e-4, 16, weight_decay=0.1)
    expected = rates(twin, optimizer.param_groups, theirs)
    assert rates(model, groups, ours) == expected
    assert len(expected) == len(model.trainable_parameters())
    assert all(group["params"] for group in groups)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
def test_any_optimiser_moves_b_by_the_ratio(kind):
    starts, moved = [], []
    for ratio in (1, 8):
        torch.manual_seed(0)
        model = LoRAModel(mlp(), target_modules=["2"])
        optimizer = kind(loraplus_groups(model, lr=1e-3, ratio=ratio))
        starts.append(bits(model))
        train(model, pairs(), nn.functional.mse_loss, steps=1, optimizer=optimizer, progress=False)
        moved.append(model.lora_layers["2"].lora_B.detach())
    assert torch.equal(starts[0]["adapters.default.2.lora_A"], starts[1]["adapters.default.2.lora_A"])
    assert torch.allclose(moved[1], 8 * moved[0], rtol=1e-4, atol=1e-12)


def test_a_schedule_keeps_the_ratio():
    model = LoRAModel(mlp())
    optimizer, seen = torch.optim.AdamW(loraplus_groups(model, lr=1e-3, ratio=4)), []
    settings = dict(steps=4, optimizer=optimizer, schedule=lambda done: 1 - done, progress=False)
    handle = optimizer.register_step_pre_hook(lambda one, *_: seen.append([g["lr"] for g in one.param_groups]))
    train(model, pairs(), nn.functional.mse_loss, **settings)
    handle.remove()
    assert seen == [[1e-3 * f, 4e-3 * f] for f in (1, 0.75, 0.5, 0.25)]


def test_only_the_active_adapter_is_taken_and_a_shared_parameter_once():
    model = LoRAModel(TinyGPT(), modules_to_save=["embedding"])
    model.add_adapter("other")
    model.lora_layers["blocks.1.q_proj"] = model.lora_layers["blocks.0.q_proj"]
    held = [p for group in loraplus_groups(model, 1e-3) for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in model.trainable_parameters()}
    assert len(held) == len({id(p) for p in held})
    model(tokens()).sum().backward()


@pytest.mark.parametrize(
    "change, kind, message",
    [
        ({"ratio": 0}, ValueError, "ratio=0 is not above 0.*16"),
        ({"lr": -1e-3}, ValueError, "lr=-0.001 is not above 0.*1e-4"),
        ({"embedding_lr": float("nan")}, ValueError, "embedding_lr=nan is not above 0"),
        ({"ratio": "16"}, TypeError, "ratio='16' is not a number"),
    ],
)
def test_bad_rates_are_refused(change, kind, message):
    with pytest.raises(kind, match=message):
        loraplus_groups(LoRAModel(mlp()), **({"lr": 1e-3} | change))


def test_a_model_without_an_active_adapter_is_refused():
    model = LoRAModel(mlp())
    model.set_adapter(None)
    with pytest.raises(ValueError, match="nothing in this model requires a gradient.*set_adapter"):
        loraplus_groups(model, 1e-3)
