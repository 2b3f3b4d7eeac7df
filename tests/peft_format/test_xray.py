"""The X-ray tells what the full matrices would tell, and lint names each departure from PEFT's format."""

import dataclasses
import json
import os

from lora_teach import LoRAModel
from lora_teach.peft_format.config import KNOWN
from lora_teach.peft_format.folder import CONFIG_FILE, WEIGHTS_FILE
from lora_teach.peft_format.xray import lint, xray
from tests.peft_format.folders import (
    KINDS,
    THEIRS,
    adapted,
    base,
    by_peft,
    change_config,
    change_tensors,
    magnitude,
    say_twice,
    whole_numbers,
)

import pytest
import torch
from safetensors.torch import load_file, save_file

peft = pytest.importorskip("peft")


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_those_of_the_full_matrices(tmp_path, kind):
    model = adapted(kind, torch.float64)
    model.save_adapter(tmp_path)
    seen = xray(tmp_path, base(torch.float64))
    assert [layer.name for layer in seen.layers] == sorted(model.lora_layers)
    assert seen.variant == ("dora" if "dora" in kind else "lora")
    for layer in seen.layers:
        ours = model.lora_layers[layer.name]
        scale = torch.as_tensor(ours.scaling, dtype=torch.float64)
        update = scale * (ours.lora_A @ ours.lora_B)
        sigma = torch.linalg.svdvals(update)[: layer.rank]
        assert (layer.rank, layer.scale) == (ours.rank, scale.item())
        assert torch.allclose(torch.tensor(layer.singular_values, dtype=torch.float64), sigma, atol=1e-12)
        assert layer.norm == pytest.approx(update.norm().item(), rel=1e-12)
        weight = base(torch.float64).get_submodule(layer.name).weight
        assert layer.relative == pytest.approx((update.norm() / weight.norm()).item(), rel=1e-12)
        share = sigma / sigma.sum()
        assert layer.effective_rank == pytest.approx((-share * share.log()).sum().exp().item(), rel=1e-9)
        assert 1 <= layer.effective_rank <= layer.rank
    tensors = load_file(tmp_path / WEIGHTS_FILE)
    assert seen.numbers == sum(tensor.numel() for tensor in tensors.values())
    assert seen.bytes == (tmp_path / WEIGHTS_FILE).stat().st_size
    assert sum(layer.numbers for layer in seen.layers) + sum(s.numel() for s in seen.saved.values()) == seen.numbers


def write(folder, A, B):
    """An adapter of one layer "x" with these factors in the file's orientation."""
    folder.mkdir(exist_ok=True)
    keys = [f"base_model.model.x.lora_{factor}.weight" for factor in "AB"]
    save_file(dict(zip(keys, (A.contiguous(), B.contiguous()), strict=True)), folder / WEIGHTS_FILE, {"format": "pt"})
    config = {"peft_type": "LORA", "r": len(A), "lora_alpha": len(A), "target_modules": ["x"], "use_rslora": False}
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    return folder


def test_no_matrix_of_the_layers_full_size_is_made(tmp_path):
    A, B = torch.ones(2, 300_000), torch.ones(300_000, 2)  # the product would have 90 billion entries
    [layer] = xray(write(tmp_path, A, B)).layers
    assert layer.norm == pytest.approx(2 * 300_000)
    assert layer.singular_values == pytest.approx([600_000, 0], abs=1e-3)


@pytest.mark.parametrize(("sigma", "expected"), [([3.0, 3.0, 3.0], 3.0), ([5.0, 0.0, 0.0], 1.0), ([0.0] * 3, 0.0)])
def test_the_effective_rank_counts_equal_singular_values(tmp_path, sigma, expected):
    A, B = torch.eye(3, 7), torch.eye(5, 3) * torch.tensor(sigma)
    [layer] = xray(write(tmp_path, A, B)).layers
    assert layer.effective_rank == pytest.approx(expected)
    assert layer.singular_values == pytest.approx(sigma)


def test_the_report_names_every_layer_and_every_departure(tmp_path):
    model = adapted("saved_head")
    model.save_adapter(tmp_path)
    report = str(xray(tmp_path))
    assert all(name in report for name in (*model.lora_layers, "head.weight (11, 8)", "Nothing departs"))
    assert "%" not in report and "turns" not in report
    assert "%" in str(xray(tmp_path, model))
    adapted("dora").save_adapter(tmp_path / "dora")
    assert "ΔW turns the weights" in str(xray(tmp_path / "dora"))
    (tmp_path / "old.bin").write_bytes(b"")
    assert "- old.bin is a pickle" in str(xray(tmp_path))


def test_a_base_without_the_layer_and_factors_that_cannot_be_measured_are_errors(tmp_path):
    folder = write(tmp_path, torch.ones(2, 3), torch.ones(4, 2))
    with pytest.raises(ValueError, match="no layer 'x'. Give the base"):
        xray(folder, base())
    with pytest.raises(ValueError, match=r"A has shape \(2, 3\) and B \(4, 3\)"):
        xray(write(tmp_path, torch.ones(2, 3), torch.ones(4, 3)))
    for bad in ("nan", "inf"):
        with pytest.raises(ValueError, match="nan or inf"):
            xray(write(tmp_path, torch.full((2, 3), float(bad)), torch.ones(4, 2)))
    change_tensors(folder, lambda tensors: tensors.pop("base_model.model.x.lora_B.weight"))
    with pytest.raises(ValueError, match="x: one of its two factors is missing"):
        xray(folder)
    with pytest.raises(ValueError, match="one of them is empty"):
        xray(write(tmp_path, torch.ones(2, 3), torch.ones(0, 2)))
    with pytest.raises(ValueError, match="rank 5,000 is too large.*4,096"):
        xray(write(tmp_path, torch.ones(5000, 1), torch.ones(1, 5000)))
    with pytest.raises(FileNotFoundError, match="no adapter_config.json"):
        xray(tmp_path / "nowhere")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_departs_in_ours(tmp_path, kind):
    adapted(kind).save_adapter(tmp_path)
    assert lint(tmp_path) == []


@pytest.mark.parametrize("kind", THEIRS)
def test_nothing_departs_in_pefts(tmp_path, kind):
    by_peft(tmp_path, THEIRS[kind])
    assert lint(tmp_path) == []


def test_lint_says_where_the_sub_folders_hold_the_adapters(tmp_path):
    model = adapted("plain")
    model.add_adapter("b", rank=2)
    model.save_adapter(tmp_path, "b")
    [departure] = lint(tmp_path)
    assert "sub-folders do: b" in departure.what
    assert lint(tmp_path / "b") == []


def test_the_fields_that_peft_knows_are_known():
    assert {field.name for field in dataclasses.fields(peft.LoraConfig)} <= KNOWN


Q0 = "base_model.model.blocks.0.q_proj"


def rename(old, new):
    return lambda f: change_tensors(f, lambda t: t.update({new: t.pop(old)}))


def replace_tensor(key, tensor):
    return lambda f: change_tensors(f, lambda t: t.update({key: tensor}))


def drop(key):
    return lambda f: change_tensors(f, lambda t: t.pop(key))


SLOW = r"(((((((\w|\w\w|\.)+)+)+)+)+)+)+[-!]"  # seconds on a name of fifteen letters, and each letter multiplies it

# What was done to the folder, and for each departure words of what is said and of the cure.
DEPARTURES = {
    "no_alpha": (lambda f: change_config(f, lora_alpha="gone"), ["'lora_alpha' is missing; PEFT would use its"]),
    "no_rslora": (lambda f: change_config(f, use_rslora="gone"), ["not say use_rslora, and PEFT takes False. Write"]),
    "no_bias": (lambda f: change_config(f, bias="gone"), ["does not say bias, and PEFT takes 'none'"]),
    "no_config": (lambda f: (f / CONFIG_FILE).unlink(), ["no adapter_config.json"]),
    "no_weights": (lambda f: (f / WEIGHTS_FILE).unlink(), ["no adapter_model.safetensors"]),
    "damaged": (lambda f: (f / WEIGHTS_FILE).write_bytes(b"x" * 99), ["damaged", "again"]),
    "twice": (say_twice, ["says 'r' twice"]),
    "unknown": (lambda f: change_config(f, lora_aplha=3), ["the field 'lora_aplha', which PEFT doesn't know and"]),
    "bias": (replace_tensor(f"{Q0}.base_layer.bias", torch.ones(8)), ["1 biases of adapted", "bias: 'lora_only'"]),
    "pissa": (lambda f: change_config(f, init_lora_weights="pissa"), ["pissa' changed the base weights"]),
    "not_followed": (lambda f: change_config(f, use_qalora=True), ["use_qalora=True is not followed"]),
    "rank": (lambda f: change_config(f, r=3), ["'blocks.0.q_proj': lora_A has shape (4, 8), and the config says rank 3",
             "lora_B has shape (8, 4)", "was saved with scale 1, and the config gives 1.33333"]),
    "dora": (lambda f: change_config(f, use_dora=True), ["no lora_magnitude_vector, and use_dora is true", "again"]),
    "magnitude": (lambda f: change_tensors(f, magnitude), ["has a lora_magnitude_vector, and use_dora is not true"]),
    "prefix": (rename(f"{Q0}.lora_A.weight", "model.blocks.0.q_proj.lora_A.weight"),
               ["'model.blocks.0.q_proj.lora_A.weight' lacks the prefix", "lora_B.weight' is here without"]),
    "adapter_name": (rename(f"{Q0}.lora_A.weight", f"{Q0}.lora_A.default.weight"),
                     ["lora_A.default.weight' is no key of PEFT's format. No adapter name"]),
    "alone": (drop(f"{Q0}.lora_B.weight"), [f"'{Q0}.lora_A.weight' is here without '{Q0}.lora_B.weight'"]),
    "untargeted": (lambda f: change_config(f, target_modules=["1.q_proj"]),
                   ["'blocks.0.q_proj' is not among target_modules, so PEFT leaves its keys out"]),
    "excluded": (lambda f: change_config(f, exclude_modules=["0.q_proj"]), ["'blocks.0.q_proj' is not among"]),
    "target": (lambda f: change_config(f, target_modules=["q_proj", "zz"]), ["names 'zz', and no layer of the file"]),
    "pattern": (lambda f: change_config(f, alpha_pattern={"zz": 3}), ["alpha_pattern has 'zz', which matches no"]),
    "saved_missing": (drop("base_model.model.head.weight"), ["modules_to_save names 'head', and the file has no"]),
    "unlisted": (lambda f: change_config(f, modules_to_save=None), ["3 tensors belong to no adapter layer"]),
    "base_layer": (replace_tensor(f"{Q0}.base_layer.weight", torch.ones(8, 8)), ["1 tensors are the base's own"]),
    "nan": (replace_tensor(f"{Q0}.lora_A.weight", torch.full((4, 8), float("nan"))), ["holds nan or inf. Load an"]),
    "dtype": (lambda f: change_tensors(f, whole_numbers), ["has dtype torch.int64. Factors are floating-point"]),
    "pickle": (lambda f: (f / "adapter_model.bin").write_bytes(b""), ["adapter_model.bin is a pickle", "Delete it"]),
    "metadata": (lambda f: save_file(load_file(f / WEIGHTS_FILE), f / WEIGHTS_FILE), ["no metadata {'format': 'pt'}"]),
    "alpha_edited": (lambda f: change_config(f, lora_alpha=8), ["was saved with scale 1, and the config gives 2"]),
    "peft_type": (lambda f: change_config(f, peft_type="IA3"), ["peft_type is not 'LORA'"]),
    "slow": (lambda f: change_config(f, target_modules=SLOW), ["take more than 0.5 seconds", "list of names"]),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "words"), DEPARTURES.values(), ids=DEPARTURES)
def test_each_departure_is_named_with_its_cure(folder, spoil, words, monkeypatch):
    monkeypatch.setattr("lora_teach.utils.patterns.SECONDS", 0.5)
    spoil(folder)
    found = lint(folder)
    assert all(departure.what and departure.cure for departure in found)
    said = "\n".join(map(str, found))
    assert all(word in said for word in words), said


def test_no_pickle_is_opened(folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "owned"),))

    for name in ("adapter_model.bin", "training_args.bin", "optimizer.pt"):
        torch.save(Evil(), folder / name)
    assert len(lint(folder)) == 3
    xray(folder)
    LoRAModel.from_pretrained(base(), folder)
    assert not (tmp_path / "owned").exists()
