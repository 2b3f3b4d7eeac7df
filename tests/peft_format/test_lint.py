"""lint names each departure of a folder from PEFT's format, with its cure."""

from lora_teach.peft_format.folder import CONFIG_FILE, WEIGHTS_FILE
from lora_teach.peft_format.lint import lint
from tests.peft_format.folders import (
    KINDS,
    THEIRS,
    adapted,
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
    "rank_beyond_any_float": (lambda f: change_config(f, r=10**400), ["rank=", "too large"]),
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
