"""Adapters as files: PEFT reads ours, we read PEFT's, and what is re-read is equal to the last bit."""

import json
import os
import subprocess
import sys

from lora_teach import LoRAModel
from tests.peft_format.folders import (
    CONFIG,
    KINDS,
    THEIRS,
    WEIGHTS,
    adapted,
    base,
    by_peft,
    change_config,
    change_tensors,
    magnitude,
    say_twice,
    whole_numbers,
)
from tests.toy import TinyGPT, bits, filled, fixed, mlp, picture, same_bits, same_picture, tokens

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

peft = pytest.importorskip("peft")


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


# Ours, re-read.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_a_saved_adapter_re_read_is_equal_to_the_last_bit(tmp_path, kind, dtype):
    model = adapted(kind, dtype)
    model.save_adapter(tmp_path)
    again = LoRAModel.from_pretrained(base(dtype), tmp_path)
    assert same_bits(bits(model.adapters), bits(again.adapters))
    assert same_bits(bits(model.saved_modules), bits(again.saved_modules))
    for layer, other in zip(model.lora_layers.values(), again.lora_layers.values(), strict=True):
        assert torch.as_tensor(layer.scaling).item() == torch.as_tensor(other.scaling).item()
        assert layer.rank == other.rank
    assert torch.equal(again(tokens()), model(tokens()))
    with model.merged(), again.merged():
        assert same_bits(bits(model.base_model), bits(again.base_model))
    again.save_adapter(tmp_path / "again")
    assert same_bits(load_file(tmp_path / WEIGHTS), load_file(tmp_path / "again" / WEIGHTS))
    assert json.loads((tmp_path / CONFIG).read_text()) == json.loads((tmp_path / "again" / CONFIG).read_text())


@pytest.mark.parametrize("step", range(8))
def test_any_scale_survives_the_file(tmp_path, step):
    generator = torch.Generator().manual_seed(step)
    model = adapted("patterns")
    for layer in model.lora_layers.values():
        layer.scaling = torch.rand(1, generator=generator, dtype=torch.float64).item() * 10 ** (step - 4)
    model.save_adapter(tmp_path)
    again = LoRAModel.from_pretrained(base(), tmp_path)
    assert [a.scaling for a in model.lora_layers.values()] == [a.scaling for a in again.lora_layers.values()]


def test_alpha_at_use_is_saved(tmp_path):
    model = adapted("plain")
    model.set_alpha(7)
    model.save_adapter(tmp_path)
    assert json.loads((tmp_path / CONFIG).read_text())["lora_alpha"] == 7
    assert torch.equal(LoRAModel.from_pretrained(base(), tmp_path)(tokens()), model(tokens()))


def test_an_alpha_that_is_edited_in_the_config_counts_as_it_does_for_peft(tmp_path):
    model = adapted("plain")
    model.save_adapter(tmp_path)
    change_config(tmp_path, lora_alpha=12)
    model.set_alpha(12)
    assert torch.equal(LoRAModel.from_pretrained(base(), tmp_path)(tokens()), model(tokens()))


def test_a_learnable_scaling_is_learnable_again(tmp_path):
    model = adapted("learnable")
    model.save_adapter(tmp_path)
    again = LoRAModel.from_pretrained(base(), tmp_path)
    again(tokens()).sum().backward()
    assert all(layer.scaling.grad.shape == (1,) for layer in again.lora_layers.values())
    again.load_adapter(tmp_path, "inactive")
    assert not any(p.requires_grad for p in again.adapters["inactive"].parameters())
    again.set_adapter("inactive")
    assert all(layer.scaling.requires_grad for layer in again.lora_layers.values())


def test_mixing_weights_are_never_saved(tmp_path):
    model = adapted("plain")
    alone = model(tokens())
    model.set_adapter({"default": 0.25})
    model.save_adapter(tmp_path)
    assert torch.equal(LoRAModel.from_pretrained(base(), tmp_path)(tokens()), alone)


def test_a_further_adapter_is_loaded_inactive(tmp_path):
    model = adapted("plain")
    model.save_adapter(tmp_path)
    other = filled(LoRAModel(base(), rank=2), seed=9).eval()
    output = other(tokens())
    other.load_adapter(tmp_path, "loaded")
    assert torch.equal(other(tokens()), output)
    assert not any(p.requires_grad for p in other.adapters["loaded"].parameters())
    other.set_adapter("loaded")
    assert torch.equal(other(tokens()), model(tokens()))
    assert all(p.requires_grad for p in other.adapters["loaded"].parameters())


def test_other_adapters_are_saved_by_name(tmp_path):
    model = adapted("plain")
    model.add_adapter("b", rank=2)
    filled(model, seed=5)
    model.save_adapter(tmp_path, "b")
    model.set_adapter("b")
    again = LoRAModel.from_pretrained(base(), tmp_path / "b", adapter_name="mine")
    assert again.adapter_names == ["mine"]
    assert torch.equal(again(tokens()), model(tokens()))


def test_an_adapter_that_is_not_called_default_lies_in_a_sub_folder_as_pefts_does(tmp_path):
    model = adapted("plain")
    model.add_adapter("b", rank=2)
    filled(model, seed=5)
    for name in ("default", "b"):
        model.save_adapter(tmp_path, name)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CONFIG, WEIGHTS, "b"]
    theirs = peft.PeftModel.from_pretrained(base(), tmp_path)
    theirs.load_adapter(tmp_path / "b", "b")
    theirs.save_pretrained(tmp_path / "theirs")
    for folder in (tmp_path, tmp_path / "theirs"):
        again = LoRAModel.from_pretrained(base(), folder)
        again.load_adapter(folder, "b")
        for name in ("default", "b"):
            again.set_adapter(name), model.set_adapter(name)
            assert torch.equal(again(tokens()), model(tokens()))
        assert torch.equal(LoRAModel.from_pretrained(base(), folder, "b")(tokens()), model(tokens()))


def test_an_adapter_of_saved_modules_alone_is_re_read(tmp_path):
    class HeadOnly(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Embedding(11, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.embedding(x))

    model = filled(LoRAModel(fixed(HeadOnly()), modules_to_save=["head"]))
    model.save_adapter(tmp_path)
    assert torch.equal(LoRAModel.from_pretrained(fixed(HeadOnly()), tmp_path)(tokens()), model(tokens()))


def test_saving_leaves_the_model_and_the_folder_as_they_should_be(tmp_path):
    model = adapted("saved_head")
    before = picture(model)
    (tmp_path / "notes.txt").write_text("mine")
    model.save_adapter(str(tmp_path))
    model.save_adapter(tmp_path)
    assert same_picture(before, picture(model))
    assert sorted(path.name for path in tmp_path.iterdir()) == [CONFIG, WEIGHTS, "notes.txt"]


def test_a_folder_is_made_with_those_above_it(tmp_path):
    adapted("plain").save_adapter(tmp_path / "runs" / "first")
    assert sorted(path.name for path in (tmp_path / "runs" / "first").iterdir()) == [CONFIG, WEIGHTS]


def test_a_failed_saving_keeps_the_old_adapter(tmp_path, monkeypatch):
    model = adapted("plain")
    model.save_adapter(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("lora_teach.peft_format.save_load.save_file", full)
    with pytest.raises(OSError, match="no space"):
        filled(model, seed=9).save_adapter(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_layer_that_peft_has_no_place_for_is_refused(tmp_path):
    model = adapted("plain")
    model.lora_layers["blocks.0.q_proj"] = nn.Linear(8, 8)
    with pytest.raises(TypeError, match=r"blocks.0.q_proj: a Linear has no place"):
        model.save_adapter(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_bare_linear_base_has_no_name_in_a_file(tmp_path):
    with pytest.raises(ValueError, match="no name in a file.*nn.Sequential"):
        LoRAModel(nn.Linear(6, 4)).save_adapter(tmp_path / "new")
    assert not (tmp_path / "new").exists()


# Ours, read by PEFT.


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_peft_reads_ours(tmp_path, kind, dtype):
    model = adapted(kind, dtype)
    model.save_adapter(tmp_path)
    theirs = peft.PeftModel.from_pretrained(base(dtype), tmp_path, autocast_adapter_dtype=False).eval()
    output, expected = theirs(tokens()), model(tokens())
    limit = 1e-12 if dtype == torch.float64 else 1e-5
    assert (output - expected).abs().max() <= limit * expected.abs().max()
    assert not torch.allclose(output, base(dtype)(tokens()), atol=1e-3)
    names = {name.removeprefix("base_model.model.") for name, m in theirs.named_modules() if hasattr(m, "lora_A")}
    assert names == set(model.lora_layers)


def test_a_files_pattern_that_names_nothing_here_changes_nothing(tmp_path):
    model = adapted("patterns")
    model.save_adapter(tmp_path)
    change_config(tmp_path, rank_pattern={"q_proj": 3, "nowhere": 9}, alpha_pattern={r"blocks\.1\.v_proj": 9, "no": 1})
    loaded = LoRAModel.from_pretrained(adapted("patterns").remove(), tmp_path)
    assert same_bits(bits(loaded.lora_layers), bits(model.lora_layers))
    assert "nowhere" not in loaded.configs["default"].rank_pattern


# PEFT's, read by us.


@pytest.mark.parametrize("options", THEIRS.values(), ids=THEIRS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_we_read_pefts(tmp_path, options, dtype):
    expected = by_peft(tmp_path, options, dtype, autocast_adapter_dtype=False)
    model = LoRAModel.from_pretrained(base(dtype), tmp_path)
    limit = 1e-12 if dtype == torch.float64 else 1e-5
    assert (model(tokens()) - expected).abs().max() <= limit * expected.abs().max()
    with model.disabled():
        assert torch.equal(model(tokens()), base(dtype)(tokens()))
    other = LoRAModel(base(dtype), target_modules=["v_proj"])
    other.load_adapter(tmp_path, "theirs")
    other.set_adapter("theirs")
    assert torch.equal(other(tokens()), model(tokens()))


def test_names_that_peft_wrote_for_every_classifier_and_this_base_lacks_are_ignored(tmp_path):
    # PEFT lists "classifier" and "score" for each sequence classifier, whichever of them the model has.
    by_peft(tmp_path, THEIRS["saved"])
    config = json.loads((tmp_path / CONFIG).read_text())
    config["modules_to_save"] += ["classifier", "score"]
    (tmp_path / CONFIG).write_text(json.dumps(config))
    model = LoRAModel.from_pretrained(base(), tmp_path)
    assert set(model.saved_modules["default"]) == {"head", "blocks.1.norm"}
    config["modules_to_save"] = ["blocks.0.norm", *config["modules_to_save"]]  # one that is here but not in the file
    (tmp_path / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"missing.*blocks.0.norm"):
        LoRAModel.from_pretrained(base(), tmp_path)


def test_the_bases_own_weights_in_a_file_are_passed_over_and_others_are_refused(tmp_path):
    # PEFT adds the weight of an adapted embedding or head, in whatever dtype it was saved.
    dtype, key = torch.bfloat16, "base_model.model.head.base_layer.weight"
    adapted("plain", dtype).save_adapter(tmp_path)
    own = base(dtype).head.weight.detach()
    change_tensors(tmp_path, lambda tensors: tensors.update({key: own.float()}))
    model = LoRAModel.from_pretrained(base(dtype), tmp_path)
    assert torch.equal(model(tokens()), adapted("plain", dtype)(tokens()))
    for other in (own + 1, own[1:].clone()):
        change_tensors(tmp_path, lambda tensors, other=other: tensors.update({key: other}))
        with pytest.raises(ValueError, match=f"1 have no place here, such as '{key}'"):
            LoRAModel.from_pretrained(base(dtype), tmp_path)


def test_a_tied_weight_of_the_base_is_known_under_either_name(tmp_path):
    model = filled(LoRAModel(TinyGPT(), target_modules=["q_proj"])).eval()
    model.save_adapter(tmp_path)
    keys = [f"base_model.model.{name}.weight" for name in ("head", "embedding")]
    own = model.base_model.head.weight.detach()
    change_tensors(tmp_path, lambda tensors: tensors.update({key: own.clone() for key in keys}))
    assert torch.equal(LoRAModel.from_pretrained(TinyGPT().eval(), tmp_path)(tokens()), model(tokens()))


# Folders that are wrong: an error in words, and nothing has changed.


def shorter(tensors):
    key = next(key for key in tensors if "lora_A" in key)
    tensors[key] = tensors[key][:, :-1].contiguous()


def renamed(tensors):
    for key in list(tensors):
        tensors[key.removeprefix("base_model.")] = tensors.pop(key)


def scales(text):
    return lambda folder: change_tensors(folder, lambda t: None, {"format": "pt", "lora_teach.scales": text})


WRONG = {
    "no_config": (lambda f: (f / CONFIG).unlink(), FileNotFoundError, "no adapter_config.json"),
    "no_weights": (lambda f: (f / WEIGHTS).unlink(), FileNotFoundError, "no adapter_model.safetensors"),
    "pickle": (
        lambda f: (f / WEIGHTS).rename(f / "adapter_model.bin"),
        FileNotFoundError,
        "adapter_model.bin is a pickle.*refused",
    ),
    "no_json": (lambda f: (f / CONFIG).write_text("{"), ValueError, "no JSON"),
    "binary_json": (lambda f: (f / CONFIG).write_bytes(b"\xff\xfe\x00"), ValueError, "no JSON"),
    "list_json": (lambda f: (f / CONFIG).write_text("[]"), ValueError, "LORA"),
    "empty_json": (lambda f: (f / CONFIG).write_text("{}"), ValueError, "LORA"),
    "cut_weights": (
        lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-9]),
        ValueError,
        "damaged",
    ),
    "empty_weights": (lambda f: (f / WEIGHTS).write_bytes(b""), ValueError, "damaged"),
    "other_type": (lambda f: change_config(f, peft_type="IA3"), ValueError, "LORA"),
    "no_r": (lambda f: change_config(f, r="gone"), ValueError, "'r' is missing"),
    "no_alpha": (lambda f: change_config(f, lora_alpha="gone"), ValueError, "'lora_alpha' is missing"),
    "no_targets": (lambda f: change_config(f, target_modules=None), ValueError, "'target_modules' is missing"),
    "rank_text": (lambda f: change_config(f, r="4"), ValueError, "rank='4'"),
    "rank_huge": (lambda f: change_config(f, r=10**9), ValueError, "rank=1000000000.*1..8"),
    "rank_wrong": (lambda f: change_config(f, r=3), ValueError, "shape"),
    "rank_nan": (lambda f: change_config(f, r=float("nan")), ValueError, "rank=nan"),
    "alpha_nan": (lambda f: change_config(f, lora_alpha=float("nan")), ValueError, "alpha=nan"),
    "alpha_inf": (lambda f: change_config(f, lora_alpha=float("inf")), ValueError, "alpha=inf"),
    "dropout_nan": (lambda f: change_config(f, lora_dropout=float("nan")), ValueError, "dropout=nan"),
    "regex": (lambda f: change_config(f, target_modules="q_proj["), ValueError, "broken"),
    "patterns": (lambda f: change_config(f, rank_pattern=[1]), ValueError, "rank_pattern"),
    "other_base": (lambda f: change_config(f, target_modules=["k_proj"]), ValueError, "k_proj.*nearest"),
    "magnitude_gone": (lambda f: change_config(f, use_dora=True), ValueError, "no lora_magnitude_vector.*anew"),
    "magnitude_text": (lambda f: change_config(f, use_dora="no"), ValueError, "use_dora='no' is not true or false"),
    "magnitude_alone": (lambda f: change_tensors(f, magnitude), ValueError, "does not say use_dora.*in silence"),
    "rslora_text": (lambda f: change_config(f, use_rslora=1), ValueError, "use_rslora=1 is not true or false"),
    "bias": (lambda f: change_config(f, bias="some"), ValueError, "bias='some' is unknown"),
    "twice": (lambda f: say_twice(f), ValueError, "says 'r' twice"),
    "deep_json": (lambda f: (f / CONFIG).write_text("[" * 100_000), ValueError, "nested too deeply"),
    "huge_json": (lambda f: (f / CONFIG).write_text(" " * 1_000_001), ValueError, "1,000,001 bytes"),
    "numbers": (lambda f: change_tensors(f, whole_numbers), ValueError, "dtype torch.int64"),
    "pissa": (lambda f: change_config(f, init_lora_weights="pissa"), ValueError, "pissa.*changed the base"),
    "layers": (lambda f: change_config(f, layers_to_transform=[0]), ValueError, "layers_to_transform"),
    "head_unlisted": (lambda f: change_config(f, modules_to_save=None), ValueError, "no place here.*head.weight|norm"),
    "missing": (lambda f: change_tensors(f, lambda t: t.pop(min(t))), ValueError, "1 tensors are missing"),
    "extra": (lambda f: change_tensors(f, lambda t: t.update(x=torch.ones(1))), ValueError, "no place here.*'x'"),
    "prefix": (lambda f: change_tensors(f, renamed), ValueError, "missing.*base_model.model."),
    "shape": (lambda f: change_tensors(f, shorter), ValueError, r"lora_A.weight has shape \(4, 7\).*\(4, 8\)"),
    "scales_text": (scales("{"), ValueError, "lora_teach.scales"),
    "scales_list": (scales("[1, 2]"), ValueError, "lora_teach.scales"),
    "scales_words": (scales('{"blocks.0.q_proj": "big"}'), ValueError, "lora_teach.scales"),
    "scales_nan": (scales('{"blocks.0.q_proj": NaN}'), ValueError, "lora_teach.scales"),
    "scales_huge": (scales('{"blocks.0.q_proj": 1%s}' % ("0" * 400)), ValueError, "lora_teach.scales"),
    "scales_null": (scales('{"blocks.0.q_proj": null}'), ValueError, "lora_teach.scales"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "exception", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_folder_is_refused_and_nothing_changes(folder, spoil, exception, words):
    spoil(folder)
    plain, model = base(), filled(LoRAModel(base(), target_modules=["v_proj"]))
    before, before_model = picture(plain), picture(model)
    for load in (
        lambda: LoRAModel.from_pretrained(plain, folder),
        lambda: model.load_adapter(folder, "wrong"),
    ):
        with pytest.raises(exception, match=words) as caught:
            load()
        assert type(caught.value) is exception
    assert same_picture(before, picture(plain))
    assert same_picture(before_model, picture(model))
    LoRAModel(plain)


def test_magnitudes_under_the_older_key_are_read(tmp_path):
    adapted("dora").save_adapter(tmp_path)

    def older(tensors):
        for key in [key for key in tensors if key.endswith("magnitude_vector")]:
            tensors[f"{key}.weight"] = tensors.pop(key)

    change_tensors(tmp_path, older)
    assert torch.equal(LoRAModel.from_pretrained(base(), tmp_path)(tokens()), adapted("dora")(tokens()))


def test_one_missing_magnitude_is_an_error(tmp_path):
    adapted("dora").save_adapter(tmp_path)
    change_tensors(tmp_path, lambda tensors: tensors.pop("base_model.model.blocks.1.v_proj.lora_magnitude_vector"))
    with pytest.raises(ValueError, match="1 tensors are missing, such as .*lora_magnitude_vector"):
        LoRAModel.from_pretrained(base(), tmp_path)


def test_what_the_format_has_no_place_for_is_not_saved(tmp_path):
    model = adapted("plain")
    model.lora_layers["head"].extra = nn.Parameter(torch.ones(1))
    with pytest.raises(TypeError, match="head: 'extra' of LoRALayer has no place"):
        model.save_adapter(tmp_path / "new")
    mixed = adapted("dora")
    mixed.lora_layers["head"] = adapted("plain").lora_layers["head"]
    with pytest.raises(ValueError, match="some layers are DoRA and others are not"):
        mixed.save_adapter(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_loading_needs_a_new_and_good_name_and_a_base_without_overlay(folder):
    model = adapted("plain")
    before = picture(model)
    for name, exception in (("default", ValueError), ("a.b", ValueError), (3, TypeError)):
        with pytest.raises(exception, match="adapter"):
            model.load_adapter(folder, name)
    with pytest.raises(ValueError, match="overlay already"):
        LoRAModel.from_pretrained(model.base_model, folder)
    with pytest.raises(TypeError, match="not a module"):
        LoRAModel.from_pretrained("gpt2", folder)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        model.load_adapter(folder / "nowhere", "c")
    assert same_picture(before, picture(model))


def test_the_dtype_of_the_file_does_not_matter(tmp_path, folder):
    def half(tensors):
        for key in tensors:
            tensors[key] = tensors[key].bfloat16()

    change_tensors(folder, half)
    model = LoRAModel.from_pretrained(base(), folder)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


# In another process.

FRESH = """
import sys, torch
model = torch.load(sys.argv[1], weights_only=False)
torch.manual_seed(0)
x = torch.randn(3, 6)
with torch.no_grad():
    out = [model(x)]
    model.set_adapter({"default": 0.5, "b": -1.0}); out.append(model(x))
    model.set_adapter("b"); out.append(model(x))
    with model.disabled(): out.append(model(x))
    with model.merged(): out.append(model(x))
    base = model.remove(); out.append(base(x))
assert not any(m._forward_hooks for m in base.modules())
assert "tests" not in sys.modules
torch.save(out, sys.argv[2])
"""


def test_a_model_saved_whole_loads_in_a_fresh_process_and_gives_equal_outputs(tmp_path):
    model = LoRAModel(mlp(), dropout=0.1)
    model.add_adapter("b", rank=2, learnable_scaling=True)
    filled(model).eval()
    torch.save(model, tmp_path / "model.pt")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-c", FRESH, tmp_path / "model.pt", tmp_path / "out.pt"], check=True, env=environment
    )
    first, mixed, second, off, merged, removed = torch.load(tmp_path / "out.pt")
    torch.manual_seed(0)
    x = torch.randn(3, 6)
    assert torch.equal(first, model(x))
    model.set_adapter({"default": 0.5, "b": -1.0})
    assert torch.equal(mixed, model(x))
    model.set_adapter("b")
    assert torch.equal(second, model(x))
    assert torch.equal(off, mlp()(x))
    assert torch.equal(removed, off)
    with model.merged():
        assert torch.equal(merged, model(x))
