"""Adapters in folders: every kind that we and PEFT write, and ways to spoil a folder."""

import json

from lora_teach import LoRAModel
from tests.toy import TinyGPT, filled, tokens

import pytest
import torch
from safetensors.torch import load_file, save_file

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

KINDS = {
    "plain": {},
    "odd_alpha": {"rank": 3, "alpha": 0.1},
    "many_odd_alphas": {"rank": 7, "alpha": 1 / 3, "alpha_pattern": {"q_proj": 0.7, "1.v_proj": 11 / 9}},
    "rslora": {"rank": 3, "alpha": 5, "scaling": "alpha/sqrt(r)"},
    "constant": {"alpha": 0.01, "scaling": "alpha"},
    "learnable": {"learnable_scaling": True},
    "learnable_rslora": {"learnable_scaling": True, "scaling": "alpha/sqrt(r)", "rank": 3},
    "patterns": {"rank": 2, "alpha": 4, "rank_pattern": {"q_proj": 3}, "alpha_pattern": {r"blocks\.1\.v_proj": 9}},
    "no_alpha": {"rank": 2, "rank_pattern": {"blocks.0.q_proj": 5}},
    "some_layers": {"target_modules": ["blocks.0.q_proj", "blocks.1.v_proj"]},
    "regex": {"target_modules": r"blocks\.(0\.q|1\.v)_proj"},
    "excluded": {"exclude_modules": ["blocks.0.q_proj"]},
    "saved_head": {"target_modules": ["q_proj"], "modules_to_save": ["head", "blocks.1.norm"]},
    "dropout": {"dropout": 0.25},
    "randn": {"init": "randn"},
    "rank_1": {"rank": 1},
    "embedding": {"target_modules": ["embedding", "q_proj"], "rank": 3, "learnable_scaling": True},
    "dora": {"variant": "dora", "rank": 3, "alpha": 5},
    "dora_rslora": {"variant": "dora", "scaling": "alpha/sqrt(r)", "learnable_scaling": True},
    "dora_patterns": {"variant": "dora", "rank_pattern": {"q_proj": 3}, "alpha_pattern": {"v_proj": 0.1}},
}


THEIRS = {
    "plain": {"r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj"]},
    "default_alpha": {"target_modules": ["q_proj"]},
    "rslora": {"r": 3, "lora_alpha": 5, "use_rslora": True, "target_modules": ["q_proj"]},
    "patterns": {
        "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"],
        "rank_pattern": {"q_proj": 3, r"blocks\.1\.v_proj": 5}, "alpha_pattern": {"blocks.0.q_proj": 9},
    },
    "regex": {"r": 2, "lora_alpha": 3, "target_modules": r"blocks\.\d\.[qv]_proj"},
    "excluded": {"r": 2, "lora_alpha": 3, "target_modules": ["q_proj", "v_proj"], "exclude_modules": ["1.v_proj"]},
    "saved": {"r": 2, "lora_alpha": 3, "target_modules": ["q_proj"], "modules_to_save": ["head", "blocks.1.norm"]},
    "gaussian": {"r": 2, "lora_alpha": 3, "target_modules": ["q_proj"], "init_lora_weights": "gaussian"},
    "dropout": {"r": 2, "lora_alpha": 3, "target_modules": ["q_proj"], "lora_dropout": 0.1},
    "embedding": {"r": 2, "lora_alpha": 3, "target_modules": ["q_proj", "embedding"]},
    "dora": {"r": 2, "lora_alpha": 3, "target_modules": ["q_proj", "v_proj"], "use_dora": True},
    "dora_rslora": {"r": 3, "lora_alpha": 2, "target_modules": ["v_proj"], "use_dora": True, "use_rslora": True},
}  # fmt: skip


def by_peft(folder, options, dtype=torch.float32, **more):
    """Make an adapter with PEFT, save it and return PEFT's output."""
    peft = pytest.importorskip("peft")
    theirs = peft.get_peft_model(base(dtype), peft.LoraConfig(**options), **more).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        theirs.save_pretrained(folder)
        return theirs(tokens())


def base(dtype=torch.float32):
    return TinyGPT(tied=False).to(dtype).eval()


def adapted(kind, dtype=torch.float32):
    return filled(LoRAModel(base(dtype), **KINDS[kind])).eval()


def change_config(folder, **changes):
    config = json.loads((folder / CONFIG).read_text())
    config.update(changes)
    (folder / CONFIG).write_text(json.dumps({key: value for key, value in config.items() if value != "gone"}))


def change_tensors(folder, change, metadata=None):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata or {"format": "pt"})


def magnitude(tensors):
    tensors["base_model.model.blocks.0.q_proj.lora_magnitude_vector"] = torch.ones(8)


def whole_numbers(tensors):
    for key in tensors:
        tensors[key] = tensors[key].long()


def say_twice(folder):
    (folder / CONFIG).write_text((folder / CONFIG).read_text().replace("{", '{"r": 4,', 1))
