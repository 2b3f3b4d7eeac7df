"""Adapters as files: PEFT's folder format, written and read without PEFT.

A folder holds ``adapter_config.json`` and ``adapter_model.safetensors``. PEFT stores A as (r, in) and B as (out, r),
the paper's orientation; this is the only place that transposes. Only safetensors are read: loading never executes
code, and never looks outside the folder.
"""

import json
import math
from dataclasses import replace
from pathlib import Path

from lora_teach.config import is_end
from lora_teach.layer import SCALINGS, VARIANTS, LoRALayer
from lora_teach.layers.bias import take_on
from lora_teach.layers.weight_based import to_be_filled
from lora_teach.overlay.names import named_modules, submodule
from lora_teach.overlay.nested_modules import walk
from lora_teach.overlay.targets import matches
from lora_teach.peft_format.config import from_peft, to_peft, told_by
from lora_teach.peft_format.folder import (
    CONFIG_FILE,
    PREFIX,
    WEIGHTS_FILE,
    find,
    key_of,
    layer_classes,
    layers_of,
    own_file,
    read_json,
    read_tensors,
)
from lora_teach.peft_format.regexes import refuse_costly
from lora_teach.peft_format.swap import write_pair
from lora_teach.peft_format.wrappers import without_wrappers
from lora_teach.utils.processes import is_writer, local, on_writer, whole

import torch
from safetensors.torch import save_file

BIAS = ".base_layer.bias"


def save(model, folder, adapter_name):
    """Write the adapter ``adapter_name`` of a LoRAModel into ``folder``; an existing one is replaced.

    As PEFT does it, the adapter called "default" lies in the folder itself, any other in a sub-folder of its name. The
    two files are replaced as one, and a crash or a full disk leaves the old pair: see `lora_teach.peft_format.swap`.

    Raises:
        TypeError: A layer that is not a LoRALayer, or one with other parameters: PEFT's format has no place for them.
        ValueError: The base is itself the adapted layer, or its layers are of several variants.
    """
    folder = Path(folder) if adapter_name == "default" else Path(folder) / adapter_name
    tensors, scales, learnable = {}, {}, []
    layers = dict(walk(model.adapters[adapter_name]))
    for path, layer in layers.items():
        _check_has_a_place(path, layer)
        tensors |= {key: whole(place.detach()).contiguous().cpu() for key, place in _places(path, layer).items()}
        if hasattr(layer, "trained_bias"):
            tensors[f"{PREFIX}{path}{BIAS}"] = whole(layer.trained_bias).cpu()  # (out_features,)
        scales[path] = torch.as_tensor(whole(layer.scaling), dtype=torch.float64).item()
        if isinstance(layer.scaling, torch.Tensor):
            learnable.append(path)
    variants = {layer.variant: layer for layer in layers.values()}
    if len(variants) > 1:
        label = next(layer.label for name, layer in variants.items() if name != "lora")
        raise ValueError(f"some layers are {label} and others are not; a file has all of one variant.")
    for path, copy in walk(model.saved_modules[adapter_name]):
        for key, value in copy.state_dict().items():
            tensors[f"{PREFIX}{path}.{key}"] = whole(value.detach()).clone().contiguous().cpu()
    for key, tensor in tensors.items():
        _check_finite(key, tensor)
    config = to_peft(model, adapter_name, scales)
    # α = s·r divided by r again is off by one bit for one scale in eight, so the exact scales go along.
    metadata = {"format": "pt", "lora_teach.scales": json.dumps(scales)}
    if learnable:
        metadata["lora_teach.learnable_scaling"] = json.dumps(learnable)
    for name, layer in variants.items():
        if name != "lora" and not layer.file_fields:  # else the config tells
            metadata["lora_teach.variant"] = name
    text = json.dumps(config, indent=2) + "\n"

    def write():
        write_pair(folder, text, lambda file, more: save_file(tensors, file, metadata | more))

    if any(local(parameter) is not parameter for parameter in model.adapters[adapter_name].parameters()):
        on_writer(write)  # in shards, so that all processes are here
    elif is_writer():  # of several processes that have trained it together
        write()


def load(model, folder, adapter_name):
    """Add the adapter that lies in ``folder`` to a LoRAModel as ``adapter_name``: whole, or not at all."""
    config, tensors, scales = without_wrappers(*read(folder, adapter_name), model.base_model)
    with to_be_filled():
        model.add_adapter(adapter_name, of_layers(config, tensors, model.base_model))
    try:
        fill(model, adapter_name, tensors, scales)
    except BaseException:
        model.delete_adapter(adapter_name)
        raise


def from_pretrained(model_class, base, folder, adapter_name):
    """Return a ``model_class`` over ``base`` with the adapter that lies in ``folder``; on an error no trace is left."""
    config, tensors, scales = without_wrappers(*read(folder, adapter_name), base)
    with to_be_filled():
        model = model_class(base, of_layers(config, tensors, base), adapter_name)
    try:
        fill(model, adapter_name, tensors, scales)
    except BaseException:
        model.remove()
        raise
    return model


def read(folder, adapter_name="default"):
    """Read the adapter that lies in ``folder``, or in its sub-folder ``adapter_name``.

    Returns:
        ``(config, tensors, scales)``: a LoRAConfig, the tensors as they are in the file, and for each layer
        ``(exact scale, whether it is learnable)`` as far as the file tells (empty for an adapter from elsewhere).

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: Not a LoRA adapter, a damaged file, or an option that this reader does not follow.
    """
    folder = find(folder, adapter_name)
    config_file, weights_file = own_file(folder, CONFIG_FILE), own_file(folder, WEIGHTS_FILE)
    config = from_peft(read_json(config_file), config_file)
    tensors, metadata = read_tensors(weights_file)
    if config.target_modules is None:  # which layers PEFT took, the keys say; it leaves the output layer out
        paths = [path for path in layers_of(tensors) if path]
        config = replace(config, **{"target_modules": paths} if paths else {"exclude_modules": ".*"})
    if config.variant == "lora":  # no field of the config tells another
        config = replace(config, variant=read_variant(metadata, weights_file))
    tensors = _with_usual_keys(tensors, config.variant)
    _check_parts(config.variant, tensors, weights_file)
    scales = read_scales(metadata, weights_file)
    return replace(config, learnable_scaling=any(learnable for _, learnable in scales.values())), tensors, scales


def _with_usual_keys(tensors, variant):
    """Return ``tensors`` under the keys that are written today: some parts had others in older files."""
    usual = {end: key_of(one, part) for one in VARIANTS[variant].values() for end, part in one.file_keys.items()}
    renamed = {}
    for key, tensor in tensors.items():
        end = next((end for end, now in usual.items() if end != now and key.endswith(end)), "")
        renamed.setdefault(key.removesuffix(end) + usual[end] if end else key, tensor)
    return renamed


def _check_parts(variant, tensors, where):
    """Raise ValueError if the file has parts of another variant, or lacks the ones that this variant alone has."""
    found = {part: key for keys in layers_of(tensors).values() for part, key in keys.items()}
    own = {part: one for one in VARIANTS[variant].values() for part in one.file_keys.values()}
    for part in sorted(found.keys() - own.keys()):
        other = next(one for one in layer_classes() if part in one.file_keys.values())
        raise ValueError(
            f"{where} holds {other.label}'s {found[part]!r}, and the adapter does not say {told_by(other)}. PEFT would "
            "read it as plain LoRA in silence. Say so there, or save the adapter again."
        )
    for part in sorted(own.keys() - found.keys() - {"A", "B"}):
        raise ValueError(
            f"the adapter says {told_by(own[part])}, and {where} holds no {key_of(own[part], part)[1:]}. PEFT would "
            "make it anew from a random start. Save the adapter again where it was trained."
        )


def of_layers(config, tensors, base):
    """Return the LoRAConfig of the layers over ``base``, given what `read` says of a file."""
    of_file = next(iter(VARIANTS[config.variant].values())).config_of_file
    return of_file(only_what_is_here(config, tensors, base))


def only_what_is_here(config, tensors, base):
    """Return ``config`` without what names nothing here, as PEFT reads it: patterns, names of modules.

    A pattern stays if it names a layer of the file, and one of modules_to_save if the file holds tensors of it.

    PEFT writes "classifier" and "score" for every sequence classifier, whichever of the two the model has. A regular
    expression that would take for ever on the names of this base is a ValueError.
    """
    names = [name for name, _ in named_modules(base)]
    refuse_costly(config, names, CONFIG_FILE)
    kept = [
        one
        for one in config.modules_to_save
        if any(matches(name, [one]) for name in names) or any(f".{one}." in key for key in tensors)
    ]
    patterns, layers = {}, layers_of(tensors)
    for option in ("rank_pattern", "alpha_pattern"):
        pattern = getattr(config, option)
        patterns[option] = {key: value for key, value in pattern.items() if any(is_end(key, name) for name in layers)}
    excluded = config.exclude_modules
    if isinstance(excluded, str):
        excluded = excluded if any(name and matches(name, excluded) for name in names) else ()
    else:
        excluded = [one for one in excluded if any(matches(name, [one]) for name in names)]
    targets = config.target_modules
    if isinstance(targets, tuple):  # PEFT writes those that it took out again, too
        gone = {name for name in names if name and matches(name, excluded)}
        targets = [one for one in targets if not gone or _stays(one, names, gone)] or targets
    return replace(config, target_modules=targets, modules_to_save=kept, exclude_modules=excluded, **patterns)


def _stays(one, names, gone):
    found = [name for name in names if matches(name, [one])]
    return not found or not gone.issuperset(found)


def fill(model, adapter_name, tensors, scales):
    """Copy what `read` gave into an adapter of a LoRAModel: all of it, or a ValueError and nothing."""
    layers, saved = dict(walk(model.adapters[adapter_name])), {}
    for path, copy in walk(model.saved_modules[adapter_name]):
        saved |= {f"{PREFIX}{path}.{key}": value for key, value in copy.state_dict().items()}
    wanted = saved | {key: place for path, layer in layers.items() for key, place in _places(path, layer).items()}
    modules = named_modules(model.base_model)
    own = {f"{name}.{key}": p for name, module in modules for key, p in module._parameters.items() if p is not None}
    others = {key for key in tensors.keys() - wanted.keys() if not _of_the_base(key, tensors[key], own)}
    biases = _trained_biases(model, adapter_name, others)
    wanted |= {key: module.bias for key, (_, module) in biases.items()}
    missing, unknown = wanted.keys() - tensors.keys(), others - biases.keys()
    elsewhere = [key for key in unknown if key.endswith(".bias") and not missing]
    if elsewhere:
        raise ValueError(
            f"the adapter has trained biases of layers that it does not adapt, such as {min(elsewhere)!r}. Only those "
            "of adapted layers are followed here. Merge it with PEFT (merge_and_unload) into a new base."
        )
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
        if tensors[key].is_floating_point() != place.is_floating_point():
            raise ValueError(f"{key} has dtype {tensors[key].dtype}; here it is {place.dtype}.")
        _check_finite(key, tensors[key])
    with torch.no_grad():
        for key, (layer, module) in biases.items():
            take_on(layer, module, tensors[key])
        for key, place in saved.items():
            place.copy_(tensors[key])
        for path, layer in layers.items():
            layer.read_parts({part: tensors[key] for part, key in _keys(path, layer).items()})
            rule = SCALINGS[layer.scaling_rule](layer.alpha, layer.rank)
            scale, learnable = scales.get(path, (rule, False))
            if not math.isclose(scale, rule, rel_tol=1e-6):
                scale = rule  # the config was edited since, and counts, as it does for PEFT
            if learnable:
                layer.scaling.fill_(scale)
            else:
                del layer.scaling  # it may be a Parameter
                layer.scaling = scale


def _check_finite(key, tensor):
    tensor = tensor.float() if tensor.dtype.itemsize == 1 else tensor  # of eight bits torch can't tell
    if tensor.isnan().any() or (".lora_" in key and tensor.isinf().any()):
        raise ValueError(f"{key} holds nan or inf. Load an earlier checkpoint; the training blew up.")


def _keys(path, layer):
    """Return ``{part: its key in the file}``."""
    return {part: f"{PREFIX}{path}{key_of(layer, part)}" for part in layer.file_keys.values()}


def _places(path, layer):
    """Return ``{key in the file: the layer's part in the file's orientation}``."""
    parts = layer.file_parts()
    return {key: parts[part] for part, key in _keys(path, layer).items()}


def _trained_biases(model, adapter_name, keys):
    """Return ``{key: (layer, its module)}`` for those of ``keys`` that are the bias of an adapted module."""
    found = {}
    for path, layer in walk(model.adapters[adapter_name]):
        module = submodule(model.base_model, path)
        if f"{PREFIX}{path}{BIAS}" in keys and getattr(module, "bias", None) is not None:
            found[f"{PREFIX}{path}{BIAS}"] = layer, module
    return found


def _check_has_a_place(path, layer):
    if not isinstance(layer, LoRALayer):
        raise TypeError(f"{path}: a {type(layer).__name__} has no place in PEFT's format. Only LoRALayers are saved.")
    if not path:
        raise ValueError("the base is itself the adapted layer, which has no name in a file. Use nn.Sequential(base).")
    own = layer.state_dict().keys() - {*layer.filed, "scaling", "trained_bias"}
    if own:
        raise TypeError(f"{path}: {min(own)!r} of {type(layer).__name__} has no place in PEFT's format.")


def _of_the_base(key, tensor, parameters):
    """Tell whether ``tensor`` is the base's own: PEFT adds the weight of an adapted head or embedding to its files."""
    name = key.removeprefix(PREFIX).replace(".base_layer.", ".")
    own = parameters.get(name)
    if own is None or own.is_meta or own.shape != tensor.shape:
        return False
    return torch.equal(own.detach().cpu(), tensor.to(own.dtype))


def read_variant(metadata, where):
    """Return the variant that a file's metadata tells, or "lora"; ValueError if it is unknown here."""
    name = metadata.get("lora_teach.variant", "lora")
    if name not in VARIANTS:
        raise ValueError(
            f"{where} was saved as variant {name[:40]!r}, which is not registered here. Import the file that registers "
            "it, by @register_variant, first."
        )
    return name


def read_scales(metadata, where):
    """Return ``{path: (exact scale, whether it is learnable)}`` as a file's metadata tells; ValueError if damaged."""
    try:
        scales = json.loads(metadata.get("lora_teach.scales", "{}"))
        learnable = json.loads(metadata.get("lora_teach.learnable_scaling", "[]"))
        if not all(math.isfinite(scale) for scale in scales.values()):
            raise ValueError("a scale is not finite")
        return {path: (float(scale), path in learnable) for path, scale in scales.items()}
    except (AttributeError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: lora_teach.scales in its metadata is damaged: {error}") from None
