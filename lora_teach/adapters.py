"""Adapters as files: PEFT's folder format, written and read without PEFT.

A folder holds ``adapter_config.json`` and ``adapter_model.safetensors``. PEFT stores A as (r, in) and B as (out, r),
the paper's orientation; this is the only place that transposes. Only safetensors are read: loading never executes
code, and never looks outside the folder.
"""

import json
import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from lora_teach.config import LoRAConfig, is_end
from lora_teach.dotted import walk
from lora_teach.files import replace_file
from lora_teach.layer import LoRALayer
from lora_teach.targets import matches

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."

# What PEFT may write into a config that this reader does not follow: each would silently change the result.
_UNSUPPORTED = """
    alora_invocation_tokens arrow_config corda_config eva_config layer_replication layers_pattern layers_to_transform
    lora_bias megatron_config monteclora_config target_parameters trainable_token_indices use_bdlora use_dora use_qalora
    velora_config
""".split()


def save(model, folder, adapter_name):
    """Write the adapter ``adapter_name`` of a LoRAModel into ``folder``; an adapter that lies there is replaced.

    Both files are written beside their places first and then moved, so a crash or a full disk leaves the old ones.

    Raises:
        TypeError: A layer that is not a LoRALayer: PEFT's format has no place for it.
    """
    folder = Path(folder)
    tensors, scales, learnable = {}, {}, []
    for path, layer in walk(model.adapters[adapter_name]):
        if not isinstance(layer, LoRALayer):
            raise TypeError(
                f"{path}: a {type(layer).__name__} has no place in PEFT's format. Only LoRALayers are saved."
            )
        if not path:
            raise ValueError(
                "the base is itself the adapted layer, which has no name in a file. Use nn.Sequential(base)."
            )
        tensors[f"{PREFIX}{path}.lora_A.weight"] = layer.lora_A.detach().T.contiguous().cpu()  # (rank, in_features)
        tensors[f"{PREFIX}{path}.lora_B.weight"] = layer.lora_B.detach().T.contiguous().cpu()  # (out_features, rank)
        scales[path] = torch.as_tensor(layer.scaling, dtype=torch.float64).item()
        if isinstance(layer.scaling, torch.Tensor):
            learnable.append(path)
    for path, copy in walk(model.saved_modules[adapter_name]):
        for key, value in copy.state_dict().items():
            tensors[f"{PREFIX}{path}.{key}"] = value.detach().clone().contiguous().cpu()
    config = _peft_config(model, adapter_name, scales)
    # α = s·r divided by r again is off by one bit for one scale in eight, so the exact scales go along.
    metadata = {"format": "pt", "lora_teach.scales": json.dumps(scales)}
    if learnable:
        metadata["lora_teach.learnable_scaling"] = json.dumps(learnable)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / WEIGHTS_FILE, lambda file: save_file(tensors, file, metadata))
    replace_file(folder / CONFIG_FILE, lambda file: file.write_text(json.dumps(config, indent=2) + "\n", "utf-8"))


def read(folder):
    """Read an adapter folder.

    Returns:
        ``(config, tensors, scales)``: a LoRAConfig, the tensors as they are in the file, and for each layer
        ``(exact scale, whether it is learnable)`` as far as the file tells (empty for an adapter from elsewhere).

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: Not a LoRA adapter, a damaged file, or an option that this reader does not follow.
    """
    folder = Path(folder)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            pickled = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.pkl") for p in folder.glob(pattern))
            why = f" {pickled[0]} is a pickle, which can execute code when read, so it is refused." if pickled else ""
            raise FileNotFoundError(f"{folder} has no {name}, so it is no adapter in PEFT's format.{why}")
    try:
        config = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG_FILE} is no JSON: {error}") from None
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS_FILE} is damaged: {error}") from None
    return _read_config(config, folder), tensors, _read_scales(metadata, folder / WEIGHTS_FILE)


def only_what_is_here(config, tensors, base):
    """Return ``config`` without what names nothing here: patterns, and modules_to_save that the file has not either.

    PEFT writes "classifier" and "score" for every sequence classifier, whichever of the two the model has.
    """
    names = [name for name, _ in base.named_modules(remove_duplicate=False)]
    kept = [
        one
        for one in config.modules_to_save
        if any(matches(name, [one]) for name in names) or any(f".{one}." in key for key in tensors)
    ]
    patterns = {}
    for option in ("rank_pattern", "alpha_pattern"):
        pattern = getattr(config, option)
        patterns[option] = {key: value for key, value in pattern.items() if any(is_end(key, name) for name in names)}
    return replace(config, modules_to_save=kept, **patterns)


def fill(model, adapter_name, tensors, scales):
    """Copy what `read` gave into an adapter of a LoRAModel: all of it, or a ValueError and nothing."""
    wanted, copies = {}, model.saved_modules[adapter_name]
    for path, layer in walk(model.adapters[adapter_name]):
        wanted[f"{PREFIX}{path}.lora_A.weight"] = layer.lora_A.T  # views, so that copying into them fills the layer
        wanted[f"{PREFIX}{path}.lora_B.weight"] = layer.lora_B.T
    for path, copy in walk(copies):
        wanted |= {f"{PREFIX}{path}.{key}": value for key, value in copy.state_dict().items()}
    missing = wanted.keys() - tensors.keys()
    unknown = {key for key in tensors.keys() - wanted.keys() if not _of_the_base(key, tensors[key], model.base_model)}
    if missing or unknown:
        raise ValueError(
            "the adapter does not fit this model"
            + (f"; {len(missing)} tensors are missing, such as {min(missing)!r}" if missing else "")
            + (f"; {len(unknown)} have no place here, such as {min(unknown)!r}" if unknown else "")
            + f". Every key is {PREFIX!r} and the module's path; check that the base is the one it was made for."
        )
    for key, place in wanted.items():
        if tensors[key].shape != place.shape:
            raise ValueError(f"{key} has shape {tuple(tensors[key].shape)}; here it must be {tuple(place.shape)}.")
    with torch.no_grad():
        for key, place in wanted.items():
            place.copy_(tensors[key])
        for path, layer in walk(model.adapters[adapter_name]):
            scale, learnable = scales.get(path, (layer.scaling, False))
            if not math.isclose(scale, layer.scaling, rel_tol=1e-6):
                scale = layer.scaling  # the config was edited since, and counts, as it does for PEFT
            layer.scaling = nn.Parameter(layer.lora_A.new_full((1,), scale)) if learnable else scale


def _of_the_base(key, tensor, base):
    """Tell whether ``tensor`` is the base's own: PEFT adds the weight of an adapted head or embedding to its files."""
    name = key.removeprefix(PREFIX).replace(".base_layer.", ".")
    own = dict(base.named_parameters(remove_duplicate=False)).get(name)
    if own is None or own.is_meta or own.shape != tensor.shape:
        return False
    return torch.equal(own.detach().cpu(), tensor.to(own.dtype))


def _peft_config(model, adapter_name, scales):
    config = model.configs[adapter_name]
    layers = dict(walk(model.adapters[adapter_name]))
    stabilised = config.scaling == "alpha/sqrt(r)"
    ranks = {path: layer.rank for path, layer in layers.items()}
    alphas = {p: layer.alpha for p, layer in layers.items()}
    for path, layer in layers.items():  # PEFT knows two rules: any other scale is told as the alpha that gives it
        if config.scaling == "alpha" or scales[path] != layer.alpha / (layer.rank**0.5 if stabilised else layer.rank):
            alphas[path] = scales[path] * (layer.rank**0.5 if stabilised else layer.rank)
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] if values else 1 for values in (ranks, alphas))
    return {
        "peft_type": "LORA",
        "peft_version": None,
        "task_type": None,
        "base_model_name_or_path": getattr(getattr(model.base_model, "config", None), "name_or_path", None) or None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "use_rslora": stabilised,
        "use_dora": False,
        "lora_dropout": config.dropout,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "target_modules": _target_names(model, layers),
        "exclude_modules": None,
        "modules_to_save": list(model.saved_modules[adapter_name]) or None,
        "rank_pattern": {"^" + re.escape(path): value for path, value in ranks.items() if value != rank},
        "alpha_pattern": {"^" + re.escape(path): value for path, value in alphas.items() if value != alpha},
    }


def _target_names(model, layers):
    """Return the shortest list of last parts that matches exactly the adapted modules, or else a regular expression."""
    if not layers:  # only modules_to_save
        return "all-linear"
    names = [name for name, _ in model.base_model.named_modules(remove_duplicate=False) if name]
    ends = sorted({path.rpartition(".")[2] for path in layers})
    if {name for name in names if matches(name, ends)} == set(layers):
        return ends
    return "|".join(re.escape(path) for path in layers)


def _read_scales(metadata, where):
    try:
        scales = json.loads(metadata.get("lora_teach.scales", "{}"))
        learnable = json.loads(metadata.get("lora_teach.learnable_scaling", "[]"))
        if not all(math.isfinite(scale) for scale in scales.values()):
            raise ValueError("a scale is not finite")
        return {path: (float(scale), path in learnable) for path, scale in scales.items()}
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: lora_teach.scales in its metadata is damaged: {error}") from None


def _read_config(config, folder):
    where = folder / CONFIG_FILE
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise ValueError(f"{where}: peft_type is not 'LORA', so this is no LoRA adapter.")
    for name in ("r", "lora_alpha", "target_modules"):
        if config.get(name) is None:
            raise ValueError(f"{where}: {name!r} is missing; PEFT would use its default, whatever the adapter was.")
    for name in _UNSUPPORTED:
        if config.get(name):
            raise ValueError(f"{where}: {name}={config[name]!r} is not followed here, and the result would be wrong.")
    if config.get("bias", "none") != "none":
        raise ValueError(f"{where}: bias={config['bias']!r} is not followed here; only 'none' is.")
    if config.get("init_lora_weights", True) not in (True, False, "gaussian", "orthogonal", "eva"):
        raise ValueError(
            f"{where}: init_lora_weights={config['init_lora_weights']!r} changed the base weights, so this adapter "
            "is wrong on the original base. Convert it with PEFT (path_initial_model_for_weight_conversion) first."
        )
    try:
        return LoRAConfig(
            rank=config["r"],
            alpha=config["lora_alpha"],
            target_modules=config["target_modules"],
            exclude_modules=config.get("exclude_modules") or (),
            modules_to_save=config.get("modules_to_save") or (),
            scaling="alpha/sqrt(r)" if config.get("use_rslora") else "alpha/r",
            dropout=config.get("lora_dropout", 0.0),
            rank_pattern=config.get("rank_pattern") or {},
            alpha_pattern=config.get("alpha_pattern") or {},
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error
