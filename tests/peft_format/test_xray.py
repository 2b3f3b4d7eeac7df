"""The X-ray tells what the full matrices would tell."""

import json

from lora_teach.peft_format.folder import CONFIG_FILE, WEIGHTS_FILE
from lora_teach.peft_format.xray import xray
from tests.peft_format.folders import (
    KINDS,
    adapted,
    base,
    change_tensors,
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
