"""The X-ray tells what the full matrices would tell."""

import json

from lora_teach.peft_format.folder import CONFIG_FILE, WEIGHTS_FILE
from lora_teach.peft_format.xray import xray
from tests.peft_format.folders import KINDS, adapted, base, change_config, change_tensors
from tests.toy import numbers

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn


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


@pytest.mark.parametrize("groups", [2, 3])
def test_the_factors_of_a_grouped_convolution_are_taken_group_by_group(tmp_path, groups):
    A, B = numbers(2 * groups, 3, 2, 2), numbers(4 * groups, 2, 1, 1, seed=5)  # rank 2 and 4 outputs a group
    [layer] = xray(write(tmp_path, A, B)).layers
    parts = [b.flatten(1).double() @ a.flatten(1).double() for a, b in zip(A.split(2), B.split(4), strict=True)]
    update = torch.cat(parts)  # (outputs, inputs of one group · height · width)
    assert layer.norm == pytest.approx(update.norm().item())
    assert layer.singular_values == pytest.approx(torch.linalg.svdvals(update)[: layer.rank].tolist())
    with pytest.raises(ValueError, match="which can't be multiplied"):
        xray(write(tmp_path, A, B[1:]))  # its outputs can't be shared out


def test_the_exact_scale_is_told_unless_the_config_was_edited_since(tmp_path):
    model = adapted("plain")
    exact = 1 / 3 + 1e-9  # which float32 can't hold, and alpha divided by the rank needn't give
    model.lora_layers["blocks.0.q_proj"].scaling = exact
    model.save_adapter(tmp_path)
    change_config(tmp_path, alpha_pattern={r"^blocks\.0\.q_proj": 4 / 3})
    assert [layer.scale for layer in xray(tmp_path).layers if layer.name == "blocks.0.q_proj"] == [exact]
    change_config(tmp_path, alpha_pattern={}, lora_alpha=4.001)
    assert {layer.scale for layer in xray(tmp_path).layers} == {4.001 / 4}


def test_the_report_word_by_word(tmp_path):
    A, B = torch.eye(2, 3), torch.zeros(4, 2)
    B[0, 0], B[1, 1] = 3.0, 4.0
    whole = nn.ModuleDict({"x": nn.Linear(3, 4)})
    nn.init.constant_(whole["x"].weight, 50 / 12**0.5)
    seen = xray(write(tmp_path, A, B), whole)
    assert (seen.folder, seen.saved) == (tmp_path, {})
    assert str(seen).splitlines()[:6] == [
        f"LoRA adapter in {tmp_path}: 1 layers, 14 numbers, {seen.bytes:,} bytes",
        "",
        "layer  rank    scale     ‖ΔW‖  of ‖W‖  effective rank  largest singular values",
        "x         2        1        5   10.0%            1.98  4  3",
        "",
        "- adapter_config.json does not say use_dora, and PEFT takes False. Write the field.",
    ]


def test_the_report_names_every_layer_and_every_departure(tmp_path):
    model = adapted("saved_head")
    model.save_adapter(tmp_path)
    report = str(xray(tmp_path))
    assert all(name in report for name in (*model.lora_layers, "Nothing departs"))
    assert "\nSaved whole: blocks.1.norm.bias (8,), blocks.1.norm.weight (8,), head.weight (11, 8)\n" in report
    assert "%" not in report and "turns" not in report
    assert "%" in str(xray(tmp_path, model))
    adapted("dora").save_adapter(tmp_path / "dora")
    report = str(xray(tmp_path / "dora"))
    assert report.startswith("DoRA adapter in ") and "\n\nΔW turns the weights" in report
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
    for A, B in ((torch.ones(2, 3).long(), torch.ones(4, 2)), (torch.ones(2, 3), torch.ones(4, 2).long())):
        with pytest.raises(ValueError, match="x: A has shape .* torch.*int64.*: these are no factors"):
            xray(write(tmp_path, A, B))
    with pytest.raises(ValueError, match="x: A has shape .* these are no factors"):
        xray(write(tmp_path, torch.ones(2), torch.ones(4, 2)))
    with pytest.raises(ValueError, match="one of them is empty"):
        xray(write(tmp_path, torch.ones(2, 3), torch.ones(0, 2)))
    with pytest.raises(ValueError, match="rank 5,000 is too large.*4,096"):
        xray(write(tmp_path, torch.ones(5000, 1), torch.ones(1, 5000)))
    with pytest.raises(FileNotFoundError, match="no adapter_config.json"):
        xray(tmp_path / "nowhere")


def test_layers_that_are_looked_into_at_once_keep_their_own_numbers_and_names(tmp_path):
    A, B = numbers(5, 2, 3), numbers(5, 4, 2, seed=3)
    ends = (("A", A), ("B", B))
    tensors = {f"base_model.model.{n}.x.lora_{end}.weight": one[n].clone() for n in range(5) for end, one in ends}
    write(tmp_path, A[0], B[0])
    save_file(tensors, tmp_path / WEIGHTS_FILE, {"format": "pt"})
    for layer in xray(tmp_path).layers:
        update = B[int(layer.name[0])].double() @ A[int(layer.name[0])].double()
        assert layer.singular_values == pytest.approx(torch.linalg.svdvals(update)[:2].tolist())
    change_tensors(tmp_path, lambda tensors: tensors["base_model.model.3.x.lora_A.weight"].fill_(torch.nan))
    with pytest.raises(ValueError, match=r"^3\.x: its factors hold nan or inf"):
        xray(tmp_path)
