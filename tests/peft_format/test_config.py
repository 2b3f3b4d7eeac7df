"""adapter_config.json: what is written says all, and what is read is followed or refused."""

import dataclasses
import json
from pathlib import Path

from lora_teach import LoRAConfig, LoRAModel
from lora_teach.peft_format.config import (
    HARMLESS_STARTS,
    KNOWN,
    NOT_FOLLOWED,
    expressions,
    from_peft,
    to_peft,
)
from tests.peft_format.folders import CONFIG, WEIGHTS, adapted, base, change_config
from tests.toy import filled, fixed, numbers

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

peft = pytest.importorskip("peft")

RAW = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "use_rslora": False}

# Written.


def written(model, **scales):
    exact = {path: float(layer.scaling) for path, layer in model.lora_layers.items()}
    return to_peft(model, "default", exact | scales)


def test_the_commonest_rank_and_alpha_are_the_adapters_and_the_others_are_patterns():
    model = LoRAModel(base(), rank=2, alpha=4, rank_pattern={"0.q_proj": 3}, alpha_pattern={"1.v_proj": 9})
    config = written(model)
    assert (config["r"], config["lora_alpha"]) == (2, 4)
    assert config["rank_pattern"] == {r"^blocks\.0\.q_proj": 3}
    assert config["alpha_pattern"] == {r"^blocks\.1\.v_proj": 9}


@pytest.mark.parametrize("scaling", ["alpha/r", "alpha/sqrt(r)"])
@pytest.mark.parametrize("rank", [3, 5, 7])
def test_an_alpha_that_gives_the_scale_is_written_as_it_is(scaling, rank):
    for hundredths in range(1, 100):  # multiplied by the rank again, some of the scales would give another alpha
        model = LoRAModel(nn.Sequential(nn.Linear(8, 8)), rank=rank, alpha=hundredths / 100, scaling=scaling)
        assert written(model)["lora_alpha"] == hundredths / 100


@pytest.mark.parametrize(("scaling", "root"), [("alpha/r", 4), ("alpha/sqrt(r)", 2), ("alpha", 4)])
def test_a_scale_that_alpha_does_not_give_is_told_as_the_alpha_that_does(scaling, root):
    model = LoRAModel(base(), rank=4, alpha=0.5, scaling=scaling)
    config = written(model, **{"blocks.0.q_proj": 3.0})
    assert config["use_rslora"] is (scaling == "alpha/sqrt(r)")
    assert config["lora_alpha"] == (2 if scaling == "alpha" else 0.5)  # PEFT divides what a constant doesn't
    assert config["alpha_pattern"] == {r"^blocks\.0\.q_proj": 3 * root}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"target_modules": ["blocks.0.q_proj", "blocks.1.q_proj"]}, ["q_proj"]),
        ({"target_modules": ["v_proj", "head", "q_proj"]}, ["head", "q_proj", "v_proj"]),
        ({"target_modules": ["blocks.0.q_proj"]}, ["blocks.0.q_proj"]),
        ({"target_modules": ["0.q_proj", "1.v_proj"]}, ["blocks.0.q_proj", "blocks.1.v_proj"]),
        (
            {"modules_to_save": ["blocks.0", "blocks.1", "head"]},
            "dummy-target-modules",
        ),  # no layer is adapted: PEFT's own name for it
    ],
    ids=["every", "several", "one", "some", "none"],
)
def test_the_targets_are_last_parts_if_they_name_no_other_module_and_else_whole_names(options, expected):
    assert written(LoRAModel(base(), **options))["target_modules"] == expected


def test_the_bases_name_is_told_where_it_has_one():
    model = adapted("plain")
    assert written(model)["base_model_name_or_path"] is None
    model.base_model.config = type("Config", (), {"name_or_path": "company/model"})()
    assert written(model)["base_model_name_or_path"] == "company/model"
    for of_this_machine in ("", "/home/someone/model", str(Path(__file__).parent), "."):
        model.base_model.config.name_or_path = of_this_machine
        assert written(model)["base_model_name_or_path"] is None
    model.base_model.config.name_or_path = ""
    assert written(model)["base_model_name_or_path"] is None


def test_dora_dropout_and_saved_modules_are_told():
    assert written(adapted("dora"))["use_dora"] is True
    config = written(LoRAModel(base(), target_modules=["q_proj"], dropout=0.25, modules_to_save=["head", "1.norm"]))
    assert (config["use_dora"], config["lora_dropout"]) == (False, 0.25)
    assert config["modules_to_save"] == ["head", "blocks.1.norm"]
    assert written(adapted("plain"))["modules_to_save"] is None


def test_what_peft_reads_silently_wrong_is_always_written(tmp_path):
    adapted("rslora").save_adapter(tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    for key in (
        *("peft_type", "target_modules", "r", "lora_alpha", "use_rslora", "use_dora", "bias", "fan_in_fan_out"),
        *("modules_to_save", "rank_pattern", "alpha_pattern", "lora_dropout", "init_lora_weights", "inference_mode"),
        *("task_type", "base_model_name_or_path", "peft_version"),
    ):
        assert key in config
    assert (config["peft_type"], config["use_rslora"], config["use_dora"], config["bias"]) == (
        "LORA",
        True,
        False,
        "none",
    )
    assert all(key.startswith("base_model.model.") for key in load_file(tmp_path / WEIGHTS))


def test_a_missing_use_rslora_is_warned_of(folder):
    change_config(folder, use_rslora="gone")
    with pytest.warns(UserWarning, match=r"does not say use_rslora.*√r"):
        LoRAModel.from_pretrained(base(), folder)


def test_a_pattern_for_one_layer_never_catches_another(tmp_path):
    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.inner = nn.Linear(8, 8), nn.ModuleDict({"fc": nn.Linear(8, 8), "xfc": nn.Linear(8, 8)})

        def forward(self, x):
            return self.inner["xfc"](self.inner["fc"](self.fc(x)))

    model = filled(LoRAModel(fixed(Nested()), rank=2, rank_pattern={"^fc": 3}))
    assert [layer.rank for layer in model.lora_layers.values()] == [3, 2, 2]
    model.save_adapter(tmp_path)
    x = numbers(3, 8)
    assert torch.equal(LoRAModel.from_pretrained(fixed(Nested()), tmp_path)(x), model(x))
    theirs = peft.PeftModel.from_pretrained(fixed(Nested()), tmp_path).eval()
    assert torch.allclose(theirs(x), model(x), atol=1e-5)


def test_the_fields_that_peft_knows_are_known():
    assert {field.name for field in dataclasses.fields(peft.LoraConfig)} <= KNOWN


# Read.


def test_what_is_read_is_what_was_said():
    raw = RAW | {
        "exclude_modules": "head", "modules_to_save": ["norm"], "use_rslora": True, "use_dora": True,
        "lora_dropout": 0.25, "rank_pattern": {"v_proj": 2}, "alpha_pattern": {"q_proj": 3}, "bias": "all",
    }  # fmt: skip
    assert from_peft(raw, "here") == LoRAConfig(
        rank=8, alpha=16, target_modules=["q_proj"], exclude_modules="head", modules_to_save=["norm"],
        scaling="alpha/sqrt(r)", dropout=0.25, variant="dora", rank_pattern={"v_proj": 2}, alpha_pattern={"q_proj": 3},
    )  # fmt: skip


def test_what_is_null_or_not_said_is_pefts_default():
    plain = LoRAConfig(rank=8, alpha=16, target_modules=["q_proj"])
    assert from_peft(RAW, "here") == plain
    nulls = ("exclude_modules", "modules_to_save", "use_dora", "rank_pattern", "alpha_pattern", *NOT_FOLLOWED)
    assert from_peft(RAW | dict.fromkeys(nulls), "here") == plain


@pytest.mark.parametrize("start", HARMLESS_STARTS)
def test_starts_that_leave_the_base_alone_are_read(start):
    assert from_peft(RAW | {"init_lora_weights": start}, "here").rank == 8


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_16", "olora", "corda", "loftq", "anything", None])
def test_a_start_that_changed_the_base_or_is_unknown_is_refused(start):
    with pytest.raises(ValueError, match=f"here: init_lora_weights={start!r} changed the base weights"):
        from_peft(RAW | {"init_lora_weights": start}, "here")


@pytest.mark.parametrize("name", NOT_FOLLOWED)
def test_an_option_that_is_not_followed_is_refused_where_it_is_used(name):
    with pytest.raises(ValueError, match=f"here: {name}=.*'x'.* is not followed here"):
        from_peft(RAW | {name: ["x"]}, "here")


@pytest.mark.parametrize("warn", [True, False])
def test_only_a_missing_use_rslora_is_warned_of_and_only_if_it_is_wanted(warn, recwarn):
    raw = {key: value for key, value in RAW.items() if key != "use_rslora"}
    assert from_peft(raw, "here", warn=warn).scaling == "alpha/r"
    assert [str(one.message)[:31] for one in recwarn] == (["here does not say use_rslora, so"[:31]] if warn else [])


def test_the_expressions_are_the_strings_and_the_keys_of_the_patterns():
    config = LoRAConfig(target_modules="a.*", exclude_modules="b", rank_pattern={"c": 1}, alpha_pattern={"d": 1})
    assert expressions(config) == ["a.*", "b", "c", "d"]
    assert expressions(LoRAConfig(target_modules=["a.b"], exclude_modules=["c"])) == []
