"""Saved adapters: what keeps a file from having its effect is found in the file, and on the base."""

import json

from lora_teach import LoRAModel, cli
from lora_teach.bases.name_gpt import load_name_gpt, name_loss
from lora_teach.datasets import names
from lora_teach.doctor import diagnose_folder
from tests.toy import filled

import pytest
import torch
from safetensors.torch import load_file, save_file


@pytest.fixture
def folder(tmp_path):
    filled(LoRAModel(load_name_gpt(), rank=2), std=0.03).save_adapter(tmp_path)
    return tmp_path


def change(folder, tensors=None, **fields):
    """Rewrite the file by ``tensors(dict)`` and set fields of the config."""
    file, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    if tensors is not None:
        held = load_file(file)
        save_file(tensors({key: value.clone() for key, value in held.items()}), file, {"format": "pt"})
    config.write_text(json.dumps(json.loads(config.read_text()) | fields))


def test_a_good_adapter_is_well_with_its_base_and_data(folder):
    batch = next(iter(names.batches(names.load("Finnish").train)))
    assert diagnose_folder(folder).ok
    diagnosis = diagnose_folder(folder, load_name_gpt(), batch, name_loss)
    assert diagnosis.ok, diagnosis
    assert "36 tensors of 18 layers" in str(diagnosis) and "loss" in str(diagnosis)


def zero_b(tensors):
    return {key: torch.zeros_like(value) if "lora_B" in key else value for key, value in tensors.items()}


def nan(tensors):
    tensors[min(tensors)][0] = float("nan")
    return tensors


@pytest.mark.parametrize("fault, place, tensors, fields", [
    ("adapter_is_noop", "all 18 layers", zero_b, {}),
    ("non_finite", "blocks.0.attention.k_proj", nan, {}),
    ("missing_keys", "lacks the prefix", lambda held: {k.removeprefix("base_model."): v for k, v in held.items()}, {}),
    ("missing_keys", "blocks.2.mlp.up_proj", lambda held: {k: v for k, v in held.items() if "2.mlp.up" not in k}, {}),
    ("missing_keys", "blokcs.0", lambda held: {k.replace("blocks", "blokcs"): v for k, v in held.items()}, {}),
    ("head_not_saved", "SEQ_CLS", None, {"task_type": "SEQ_CLS"}),
    ("head_not_saved", "'head'", None, {"modules_to_save": ["head"]}),
])  # fmt: skip
def test_a_fault_of_the_files_is_found(folder, fault, place, tensors, fields):
    change(folder, tensors, **fields)
    diagnosis = diagnose_folder(folder, load_name_gpt())
    found = {finding.fault: finding.evidence for finding in diagnosis.findings}
    assert fault in found, diagnosis
    assert place in found[fault]


def test_the_command_line_prints_the_report(folder, tmp_path, capsys):
    data = tmp_path / "n.jsonl"
    data.write_text('{"completion": "aino"}\n{"completion": "eero"}\n', encoding="utf-8")
    assert cli.main(["doctor", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("No fault found.")
    assert cli.main(["doctor", str(folder), "--base", "names", "--data", str(data)]) == 0
    assert "loss" in capsys.readouterr().out
    change(folder, zero_b)
    assert cli.main(["doctor", str(folder)]) == 0
    assert "adapter_is_noop" in capsys.readouterr().out


def test_bad_input_is_one_line_and_status_2(folder, tmp_path, capsys):
    assert cli.main(["doctor", str(tmp_path / "none")]) == 2
    assert cli.main(["doctor", str(folder), "--data", "x.jsonl"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "--data needs the base" in lines[1]
