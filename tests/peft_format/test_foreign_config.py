"""Configs that someone else wrote: newer fields, "all-linear", saved modules alone, and what would take for ever."""

import json
import warnings

from lora_teach import LoRAModel
from lora_teach.peft_format.xray import lint, xray
from lora_teach.utils import patterns
from tests.peft_format.folders import CONFIG, WEIGHTS, adapted, base, by_peft, change_config, change_tensors
from tests.toy import filled, tokens

import pytest
import torch
from safetensors.torch import load_file
from torch import nn


@pytest.fixture
def folder(tmp_path):
    adapted("plain").save_adapter(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "field",
    [
        {"use_flipped_lora": True}, {"lora_power": 2}, {"block_config": {"size": 4}}, {"init_more": "svd"},
        {"enable_lora": [True, False]},
    ],
    ids=lambda field: next(iter(field)),
)  # fmt: skip
def test_a_field_that_only_a_newer_peft_knows_is_warned_of_by_name(field, folder):
    # https://github.com/huggingface/peft/pull/2340, https://github.com/huggingface/peft/issues/2275
    change_config(folder, **field)
    with pytest.warns(UserWarning, match=f"adapter_config.json has fields.*{next(iter(field))}: .*newer PEFT"):
        LoRAModel.from_pretrained(base(), folder)
    assert any(next(iter(field)) in str(one) for one in lint(folder))


def test_a_field_that_says_nothing_is_let_be(folder):
    # https://github.com/oobabooga/textgen/issues/6819, https://github.com/InternLM/lmdeploy/issues/1151
    change_config(folder, enable_lora=None, merge_weights=False, new_config={}, new_list=[], eva_config=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LoRAModel.from_pretrained(base(), folder)


@pytest.mark.parametrize("words", ["all-linear", "ALL-LINEAR", "All-Linear"])
@pytest.mark.parametrize("more", [{}, {"exclude_modules": ["0.v_proj"]}, {"use_dora": True}], ids=str)
def test_all_linear_takes_the_layers_that_the_file_has(words, more, tmp_path):
    # https://github.com/huggingface/peft/pull/2267 tells what PEFT takes and what it leaves out
    options = {"r": 2, "lora_alpha": 4, "target_modules": words} | more
    expected = by_peft(tmp_path, options)
    saved = json.loads((tmp_path / CONFIG).read_text())
    if isinstance(saved["target_modules"], list):  # PEFT wrote out which it took; older ones keep the word
        change_config(tmp_path, target_modules=words)
    model = LoRAModel.from_pretrained(base(), tmp_path).eval()
    with torch.no_grad():
        assert torch.allclose(model(tokens()), expected, rtol=1e-5, atol=1e-6)
    assert not [one for one in lint(tmp_path) if "target" in str(one)] and xray(tmp_path).layers


def test_all_linear_leaves_out_the_output_layer_as_peft_did(tmp_path):
    model = filled(LoRAModel(base(), target_modules=["q_proj", "v_proj"])).eval()
    model.save_adapter(tmp_path)
    change_config(tmp_path, target_modules="all-linear")
    read = LoRAModel.from_pretrained(base(), tmp_path).eval()
    assert "head" not in read.lora_layers and torch.equal(read(tokens()), model(tokens()))


SAVED_ALONE = {
    "head": {"modules_to_save": ["head"], "exclude_modules": ".*"},
    "two": {"modules_to_save": ["head", "blocks.1.norm"], "exclude_modules": r".*(proj|head)"},
    "all_of_them": {"modules_to_save": ["blocks.0", "blocks.1", "head"]},
}


@pytest.mark.parametrize("options", SAVED_ALONE.values(), ids=SAVED_ALONE)
@pytest.mark.parametrize("older", [False, True])
def test_saved_modules_alone_round_trip_with_peft_too(options, older, tmp_path):
    # https://github.com/huggingface/peft/issues/503 is about such a head
    model = LoRAModel(base(), **options).eval()
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        expected = model(tokens())
    model.save_adapter(tmp_path)
    assert not lint(tmp_path) and not xray(tmp_path).layers
    if older:
        change_config(tmp_path, target_modules="all-linear")
    else:
        peft = pytest.importorskip("peft")
        with torch.no_grad():
            theirs = peft.PeftModel.from_pretrained(base(), tmp_path).eval()(tokens())
        assert torch.allclose(theirs, expected, rtol=1e-5, atol=1e-6)
    read = LoRAModel.from_pretrained(base(), tmp_path).eval()
    assert torch.equal(read(tokens()), expected) and len(read.adapters["default"]) == 0
    read.save_adapter(tmp_path / "again")
    again, first = load_file(tmp_path / "again" / WEIGHTS), load_file(tmp_path / WEIGHTS)
    assert again.keys() == first.keys() and all(torch.equal(again[key], first[key]) for key in first)


def test_saved_modules_alone_of_peft_s_are_read(tmp_path):
    expected = by_peft(
        tmp_path, {"r": 2, "lora_alpha": 2, "target_modules": "dummy-target-modules", "modules_to_save": ["head"]}
    )
    model = LoRAModel.from_pretrained(base(), tmp_path).eval()
    assert torch.allclose(model(tokens()), expected, rtol=1e-5, atol=1e-6)


NEVER_ENDING = {
    "nested": {"target_modules": r"(.|\w)" * 30 + "!"},
    "of_a_rank": {"rank_pattern": {r"(.|\w)" * 30 + "!": 4}},
    "of_an_alpha": {"alpha_pattern": {r"((\w|.)*)*-": 4}},
    "excluding": {"exclude_modules": r"(((\w|\w\w|\.)+)+)+[-!]"},
    "classes": {"target_modules": "(?i)" + "[\x00-\uffff]" * 5000},
    "classes_shared_out": {"rank_pattern": {f"(?i)a{n}" + "[\x00-\uffff]" * 50: 4 for n in range(200)}},
    "patterns": {"rank_pattern": {f"l{n}": 4 for n in range(55_000)}},
    "long_patterns": {"alpha_pattern": {f"l{n}" + "|a" * 400: 4 for n in range(900)}},
    "names": {"target_modules": [f"l{n}" for n in range(60_000)]},
    "saved": {"modules_to_save": [f"l{n}" for n in range(60_000)]},
}


@pytest.mark.parametrize("fields", NEVER_ENDING.values(), ids=NEVER_ENDING)
def test_what_would_take_for_ever_is_refused_by_all_that_read_it(fields, folder, monkeypatch):
    monkeypatch.setattr(patterns, "SECONDS", 0.2)
    hostile = {f"base_model.model.{'.' * 500}!{number}.lora_A.weight": torch.zeros(4, 8) for number in range(3)}
    change_tensors(folder, lambda tensors: tensors.update(hostile))
    change_config(folder, **fields)
    for read in (lambda: LoRAModel.from_pretrained(base(), folder), lambda: xray(folder), lambda: lint(folder)):
        try:
            assert read()  # lint tells of it
        except ValueError as error:
            assert str(error)


HUGE = {
    "tensors": lambda t: t.update({f"base_model.model.l{n}.lora_A.weight": torch.empty(0) for n in range(900)}),
    "a_side": lambda t: t.update({min(t): torch.zeros(1, 2**22 + 1)}),
    "a_flat_side": lambda t: t.update({"base_model.model.head.weight": torch.zeros(2**22 + 1, dtype=torch.int8)}),
    "a_key": lambda t: t.update({"base_model.model." + "x" * 1001: torch.zeros(1)}),
}


@pytest.mark.parametrize("change", HUGE.values(), ids=HUGE)
def test_what_is_beyond_all_size_is_refused_before_it_is_read(change, folder, monkeypatch):
    monkeypatch.setattr("lora_teach.peft_format.folder.MOST_TENSORS", 800)
    change_tensors(folder, change)
    for read in (lambda: LoRAModel.from_pretrained(base(), folder), lambda: xray(folder)):
        with pytest.raises(ValueError, match="up to .* are read|more than 1,000 characters"):
            read()
    assert any("are read" in str(one) or "characters" in str(one) for one in lint(folder))


SPOILT = {
    "pointer": lambda f: (f / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\n"),
    "config_pointer": lambda f: (f / CONFIG).write_text("version https://git-lfs.github.com/spec/v1\n"),
    "bom": lambda f: (f / CONFIG).write_bytes(b"\xef\xbb\xbf" + (f / CONFIG).read_bytes()),
    "nul": lambda f: (f / CONFIG).write_bytes(b"\0"),
    "digits": lambda f: (f / CONFIG).write_text('{"r": ' + "1" * 5000 + "}"),
    "a_list": lambda f: (f / CONFIG).write_text("[]"),
    "alpha_text": lambda f: change_config(f, lora_alpha="16"),
    "rank_real": lambda f: change_config(f, r=4.0),
    "rank_true": lambda f: change_config(f, r=True),
    "rank_pattern_text": lambda f: change_config(f, rank_pattern={"q_proj": "4"}),
    "rank_pattern_number": lambda f: change_config(f, rank_pattern=7),
    "alpha_pattern_list": lambda f: change_config(f, alpha_pattern=["q_proj"]),
    "targets_number": lambda f: change_config(f, target_modules=3),
    "saved_text": lambda f: change_config(f, modules_to_save="head"),
    "transposed": lambda f: change_tensors(f, lambda t: t.update({k: v.T.contiguous() for k, v in t.items()})),
    "empty_factors": lambda f: change_tensors(f, lambda t: t.update({k: v[:0] for k, v in t.items()})),
    "complex": lambda f: change_tensors(f, lambda t: t.update({min(t): t[min(t)].to(torch.complex64)})),
    "nan": lambda f: change_tensors(f, lambda t: t[min(t)].fill_(float("nan"))),
    "inf": lambda f: change_tensors(f, lambda t: t[max(t)].fill_(float("-inf"))),
    "no_tensor": lambda f: change_tensors(f, lambda t: t.clear()),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_folder_is_refused_and_lint_says_why(spoil, folder):
    spoil(folder)
    plain = base()
    before = {key: value.clone() for key, value in plain.state_dict().items()}
    with pytest.raises(ValueError, match=".+"):
        LoRAModel.from_pretrained(plain, folder)
    assert lint(folder) or spoil is SPOILT["complex"]
    assert all(torch.equal(value, before[key]) for key, value in plain.state_dict().items())
    assert not any(module._forward_hooks for module in plain.modules()) and isinstance(plain, nn.Module)


@pytest.mark.parametrize("excluded", [["q_proj"], ["0.q_proj", "1.q_proj"], r".*q_proj"], ids=str)
@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"], ["blocks.0.q_proj", "v_proj"]], ids=str)
def test_targets_that_peft_took_out_again_are_read(targets, excluded, tmp_path):
    if isinstance(targets, list):
        change = {"r": 2, "lora_alpha": 4, "target_modules": ["v_proj"]}
        expected = by_peft(tmp_path, change)
        change_config(tmp_path, target_modules=targets, exclude_modules=excluded)
    else:
        options = {"r": 2, "lora_alpha": 4, "target_modules": targets, "exclude_modules": excluded}
        expected = by_peft(tmp_path, options)
    model = LoRAModel.from_pretrained(base(), tmp_path).eval()
    assert torch.allclose(model(tokens()), expected, rtol=1e-5, atol=1e-6)


def test_the_first_layer_alone_is_a_choice_that_is_not_followed(folder):
    change_config(folder, layers_to_transform=0)
    with pytest.raises(ValueError, match="layers_to_transform=0 is not followed here"):
        LoRAModel.from_pretrained(base(), folder)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_factors_of_eight_bits_are_read_and_looked_into(folder, dtype):
    key = "base_model.model.blocks.0.q_proj.lora_A.weight"
    change_tensors(folder, lambda tensors: tensors.update({key: tensors[key].to(dtype)}))
    model = LoRAModel.from_pretrained(base(), folder)
    assert torch.equal(model.lora_layers["blocks.0.q_proj"].lora_A.T, load_file(folder / WEIGHTS)[key].float())
    assert all(layer.norm > 0 for layer in xray(folder).layers)


def test_what_eva_says_of_its_start_is_harmless_and_tied_copies_are_not(folder):
    change_config(folder, init_lora_weights="eva", eva_config={"rho": 2.0, "tau": 0.99})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LoRAModel.from_pretrained(base(), folder)
    change_config(folder, ensure_weight_tying=True)
    LoRAModel.from_pretrained(base(), folder)  # nothing that could be tied
    change_config(folder, modules_to_save=["embedding"])
    with pytest.raises(ValueError, match=r"ensure_weight_tying .*modules_to_save=\['embedding'\].*not followed here"):
        LoRAModel.from_pretrained(base(), folder)
