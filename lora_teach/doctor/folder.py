"""diagnose_folder: an adapter's files, and the base and data that it is meant for."""

from lora_teach.doctor.diagnose import diagnose
from lora_teach.doctor.report import FAULTS, Diagnosis, Finding, some
from lora_teach.model import LoRAModel
from lora_teach.overlay.targets import matches
from lora_teach.peft_format.folder import CONFIG_FILE, find, layers_of, own_file, read_json
from lora_teach.peft_format.lint import lint
from lora_teach.peft_format.save_load import read

import torch


def diagnose_folder(folder, base=None, batch=None, loss_fn=None):
    """Look for what keeps a saved adapter from having its effect.

    Args:
        folder: An adapter in PEFT's format.
        base: The base model that it is for; without it only the files are looked at.
        batch: A batch as for `diagnose`, which is then called on the base with the adapter.
        loss_fn: As for `diagnose`.

    Raises:
        FileNotFoundError, ValueError: ``folder`` holds no adapter that can be read.
    """
    config, tensors, _ = read(folder)
    raw = read_json(own_file(find(folder), CONFIG_FILE))
    layers = {path: {part: tensors[key] for part, key in keys.items()} for path, keys in layers_of(tensors).items()}
    said = {
        "non_finite": _non_finite(tensors),
        "adapter_is_noop": _noop(layers),
        "missing_keys": _missing(layers, config, base, folder),
        "head_not_saved": _no_head(raw, tensors, config),
    }
    found = {
        name: Finding(name, evidence, FAULTS[name].cure, FAULTS[name].notebook)
        for name, evidence in said.items()
        if evidence
    }
    looked_at = f"Looked at: {len(tensors)} tensors of {len(layers)} layers in {folder}."
    if base is None or found:
        lacking = " Not given: base." if base is None else " The model was not built: mend the files first."
        return Diagnosis(tuple(found.values()), looked_at + lacking)
    whole = diagnose(LoRAModel.from_pretrained(base, folder), batch=batch, loss_fn=loss_fn)
    return Diagnosis(whole.findings, f"{looked_at} {whole.looked_at}")


def _non_finite(tensors):
    broken = [key for key, tensor in tensors.items() if not torch.isfinite(tensor.float()).all()]
    return f"there is nan or inf in {some(broken)}" if broken else None


def _noop(layers):
    whole = {name: parts for name, parts in layers.items() if parts.keys() == {"A", "B"}}  # DoRA has magnitudes too
    if whole and not any(_product_is_there(parts["A"], parts["B"]) for parts in whole.values()):
        return f"A·B is zero in all {len(whole)} layers of the file, so it was saved before it was trained"
    return None


def _product_is_there(A, B):
    """Tell whether B A is more than rounding: a PiSSA of which nothing was trained holds a product and its opposite."""
    A, B = A.double().flatten(1), B.double().flatten(1)  # (rank, …), (…, rank or a share of it)
    if len(A) != B.shape[1]:  # of a convolution with groups
        return bool(A.any() and B.any())
    square = ((A @ A.T) * (B.T @ B)).sum().clamp_min(0)  # ‖B A‖², from matrices of rank × rank
    return bool(square.sqrt() > 1e-6 * A.norm() * B.norm())


def _missing(layers, config, base, folder):
    halves = [name for name, parts in layers.items() if not {"A", "B"} <= parts.keys()]
    lost = [one.what for one in lint(folder) if "lacks the prefix" in one.what or "no layer of the file" in one.what]
    if halves:
        return f"one of the two factors is missing in {some(halves)}"
    if lost:
        return lost[0].rstrip(".") + (f", and {len(lost) - 1} more" if len(lost) > 1 else "")
    if base is None:
        return None
    there = {name for name, _ in base.named_modules()}
    strange = [name for name in layers if name not in there]
    if strange:
        return f"the base has no layer called {some(strange)}, so {len(strange)} of {len(layers)} have no effect"
    if isinstance(config.target_modules, tuple):
        wanted = [name for name in there if matches(name, config.target_modules)]
        kept = [name for name in wanted if not matches(name, config.exclude_modules) and name not in layers]
        if kept:
            return f"the config asks for {len(wanted)} layers and the file lacks {some(sorted(kept))}"
    return None


def _no_head(raw, tensors, config):
    for name in config.modules_to_save:
        if not any(f".{name}." in f".{key}" for key in tensors):
            return f"modules_to_save names {name!r}, and the file has no tensor of it"
    others = [key for key in tensors if "lora_" not in key]
    if raw.get("task_type") in ("SEQ_CLS", "TOKEN_CLS") and not others:
        return f"task_type is {raw['task_type']}, which has a new head, and the file holds factors alone"
    return None
