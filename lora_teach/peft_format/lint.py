"""lint: where an adapter's folder departs from PEFT's format, and what to do about it."""

from collections import Counter
from dataclasses import dataclass, replace

from lora_teach.config import is_end
from lora_teach.layer import SCALINGS, VARIANTS
from lora_teach.overlay.targets import matches
from lora_teach.peft_format.config import ALWAYS, KNOWN, from_peft, told_by
from lora_teach.peft_format.folder import (
    CONFIG_FILE,
    PREFIX,
    TOKEN_ROWS,
    WEIGHTS_FILE,
    find,
    key_ends,
    key_of,
    layer_classes,
    layers_of,
    own_file,
    pickles,
    read_json,
    read_tensors,
)
from lora_teach.peft_format.regexes import refuse_costly
from lora_teach.peft_format.save_load import read_scales, read_variant
from lora_teach.peft_format.wrappers import wrapper_in

import torch


@dataclass(frozen=True)
class Departure:
    """One thing that is not as PEFT's format has it: ``what`` it is, and its ``cure``."""

    what: str
    cure: str

    def __str__(self):
        return f"{self.what} {self.cure}"


def lint(folder):
    """List each `Departure` of the adapter in ``folder`` from PEFT's format; an empty list means none.

    It is read as an adapter is for loading: safetensors only, no pickle is opened, nothing outside the folder. Without
    the base model it can't be told whether the layers' names and sizes are the base's.
    """
    folder, found = _attempt(lambda: find(folder), "Give that folder.")
    if folder is None:
        return found
    found = [
        Departure(f"{name} is a pickle: a program that opens it may execute code.", "Delete it; safetensors is enough.")
        for name in pickles(folder)
    ]
    raw, departures = _attempt(lambda: read_json(own_file(folder, CONFIG_FILE)), "Save the adapter again.")
    found += departures
    read, departures = _attempt(lambda: read_tensors(own_file(folder, WEIGHTS_FILE)), "Save the adapter again.")
    found += departures
    config = None
    if raw is not None:
        config, departures = _attempt(lambda: from_peft(raw, CONFIG_FILE, warn=False), "See peft.LoraConfig.")
        found += departures + list(_fields(raw if isinstance(raw, dict) else {}))
    if read is not None:
        tensors, metadata = read
        found += _keys(tensors, metadata)
        if not tensors:
            found.append(Departure(f"{WEIGHTS_FILE} holds no tensor.", "Save the adapter again."))
        if config is not None:
            found += _together(config, tensors, metadata, raw.get("bias", "none"))
    return found


def factors_of(tensors):
    """Return ``{path of a layer: {"A": tensor, "B": tensor, "magnitude": tensor}}``, with what of it is there."""
    return {path: {part: tensors[key] for part, key in keys.items()} for path, keys in layers_of(tensors).items()}


def _attempt(read, cure):
    try:
        return read(), []
    except (OSError, ValueError) as error:
        return None, [Departure(str(error), cure)]


def _fields(raw):
    for name, default in ALWAYS.items():
        if name not in raw:
            yield Departure(f"{CONFIG_FILE} does not say {name}, and PEFT takes {default!r}.", "Write the field.")
    for name in sorted(set(raw) - KNOWN):
        yield Departure(f"{CONFIG_FILE} has the field {name!r}, which PEFT doesn't know and drops.", "Take it out.")


def _keys(tensors, metadata):
    if metadata.get("format") != "pt":
        yield Departure(f"{WEIGHTS_FILE} has no metadata {{'format': 'pt'}}.", "Save it with that metadata.")
    known, others = key_ends(one for one in layer_classes() if one.in_peft), _other_factors()
    for key, tensor in tensors.items():
        if wrapper_in(key):
            what = f"{key!r} carries a wrapper's name, {wrapper_in(key)!r}, so PEFT leaves it out."
            yield Departure(what, "Save the adapter from the model inside the wrapper.")
        ends = [end for end in others if key.endswith(end)]
        other = key.removesuffix(ends[0]) + others[ends[0]] if ends else ""
        if not key.startswith(PREFIX):
            cure = f"Rename it: {PREFIX!r} and the layer's path."
            yield Departure(f"{key!r} lacks the prefix {PREFIX!r}, so PEFT leaves it out and at most warns.", cure)
        elif ends and other not in tensors:
            yield Departure(f"{key!r} is here without {other!r}.", "Save the adapter again.")
        elif "lora_" in key and not key.endswith(tuple(known)):
            yield Departure(f"{key!r} is no key of PEFT's format.", "No adapter name belongs into it: …lora_A.weight.")
        if not tensor.is_floating_point() and "lora_" in key:
            yield Departure(f"{key!r} has dtype {tensor.dtype}.", "Factors are floating-point numbers.")
        elif not all(torch.isfinite(part.float()).all() for part in tensor.flatten().split(2**24)):  # piece by piece
            yield Departure(f"{key!r} holds nan or inf.", "Load an earlier checkpoint; the training blew up.")


def _other_factors():
    """Return ``{end of a key of A or B: that of the other}``."""
    pairs = [[key_of(one, part) for part in "AB"] for one in layer_classes()]
    return {end: pair[1 - at] for pair in pairs for at, end in enumerate(pair)}


def _together(config, tensors, metadata, bias):
    """Yield what config and tensors say against each other."""
    layers = factors_of(tensors)
    _, departures = _attempt(lambda: refuse_costly(config, layers, CONFIG_FILE), "They must be harmless.")
    if departures:
        yield from departures
        return
    scales, departures = _attempt(lambda: read_scales(metadata, WEIGHTS_FILE), "Save the adapter again.")
    yield from departures
    if config.variant == "lora":
        variant, departures = _attempt(lambda: read_variant(metadata, WEIGHTS_FILE), "PEFT reads it as plain LoRA.")
        yield from departures
        config = replace(config, variant=variant or "lora")
    label, in_peft = next((one.label, one.in_peft) for one in VARIANTS[config.variant].values())
    if not in_peft:
        what = f"PEFT doesn't know {label}, and reads plain LoRA, or nothing."
        yield Departure(what, "Read it with lora_teach, or merge it.")
    for path, parts in layers.items():
        yield from _layer(path, parts, config, (scales or {}).get(path))
    yield from _names(config, tensors, layers, bias)


def _layer(path, parts, config, exact):
    targeted = config.target_modules is None or matches(path, config.target_modules)
    if not targeted or matches(path, config.exclude_modules):
        cure = "Name the layer in target_modules, or take its keys out."
        yield Departure(f"{path!r} is not among target_modules, so PEFT leaves its keys out and at most warns.", cure)
    rank = config.rank_of(path)
    for factor, dimension in (("A", 0), ("B", 1)):
        shape = tuple(parts[factor].shape) if factor in parts else None
        grouped = factor == "B" and len(shape or ()) == 4 and shape[1] and rank % shape[1] == 0  # a grouped convolution
        if shape is not None and not grouped and (len(shape) not in (2, 4) or shape[dimension] != rank):
            cure = "Put the rank that it was trained with into r or rank_pattern."
            yield Departure(f"{path!r}: lora_{factor} has shape {shape}, and the config says rank {rank}.", cure)
    own = {part: one for one in VARIANTS[config.variant].values() for part in one.file_keys.values()}
    owners = {part: one for one in layer_classes() for part in one.file_keys.values()} | own
    for part in sorted((own.keys() ^ parts.keys()) - {"A", "B"}):
        key, said = key_of(owners[part], part)[1:], told_by(owners[part])
        if part in own:
            what = f"{path!r} has no {key}, and {said} is true: PEFT makes it anew, which is wrong."
            yield Departure(what, "Save the adapter again where it was trained.")
        else:
            what = f"{path!r} has a {key}, and {said} is not true: PEFT reads plain LoRA in silence."
            yield Departure(what, f"Write {said}: true.")
    rule = SCALINGS[config.scaling](config.alpha_of(path), rank)
    if exact is not None and abs(exact[0] - rule) > 1e-6 * abs(rule):
        what = f"{path!r} was saved with scale {exact[0]:g}, and the config gives {rule:g}, which counts."
        yield Departure(what, "Put r, lora_alpha and use_rslora back as they were, or save the adapter again.")


def _names(config, tensors, layers, bias):
    wanted = config.target_modules if isinstance(config.target_modules, tuple) else ()
    wanted = [*wanted] if wanted else [config.target_modules] if config.target_modules else []
    for one in wanted:
        if layers and not any(matches(path, one if one is config.target_modules else [one]) for path in layers):
            cure = "Take it out of target_modules, or save the adapter again."
            yield Departure(f"target_modules names {one!r}, and no layer of the file is called so.", cure)
    for option in ("rank_pattern", "alpha_pattern"):
        for key in getattr(config, option):
            if not any(is_end(key, path) for path in layers):
                yield Departure(f"{option} has {key!r}, which matches no layer of the file.", "Take it out.")
    others = [key for key in tensors if key.startswith(PREFIX) and "lora_" not in key]
    trained = [key for key in others if key.endswith(".base_layer.bias")]
    if trained and bias == "none":
        what = f"{len(trained)} biases of adapted layers are here, such as {trained[0]!r}, and bias is 'none'."
        yield Departure(what, "Write bias: 'lora_only'.")
    others = [key for key in others if key not in trained and not (bias == "all" and key.endswith(".bias"))]
    for name in config.modules_to_save:
        if not any(f".{name}." in f".{key}" for key in others):
            cure = "Take it out, or save the adapter again."
            yield Departure(f"modules_to_save names {name!r}, and the file has no tensor of it: PEFT fails.", cure)
    tokens = {key: tensors[key] for key in others if key.endswith(TOKEN_ROWS)}
    yield from _tokens(config.trainable_token_indices, tokens)
    others = [key for key in others if key not in tokens]
    unlisted = [key for key in others if not any(f".{name}." in f".{key}" for name in config.modules_to_save)]
    kinds = Counter(".base_layer." in key for key in unlisted)
    if kinds[True]:
        what = (
            f"{kinds[True]} tensors are the base's own, such as {next(k for k in unlisted if '.base_layer.' in k)!r}."
        )
        yield Departure(what, "They make the file large; save with save_embedding_layers=False.")
    if kinds[False]:
        shown = next(key for key in unlisted if ".base_layer." not in key)
        what = (
            f"{kinds[False]} tensors belong to no adapter layer and to no module of modules_to_save, such as {shown!r}."
        )
        yield Departure(what, "Name their module in modules_to_save, or take them out.")


def _tokens(wanted, rows):
    if bool(wanted) != bool(rows):
        what, cure = ("names tokens", "holds no rows") if wanted else ("names no tokens", "holds rows")
        what = f"trainable_token_indices {what}, and the file {cure} of them ({TOKEN_ROWS[1:]})."
        yield Departure(what, "Save the adapter again where it was trained.")
    counts = {len(tokens) for tokens in (wanted.values() if isinstance(wanted, dict) else [wanted or ()])}
    for key, tensor in rows.items():
        if wanted and (tensor.dim() != 2 or len(tensor) not in counts):
            what = f"{key!r} has shape {tuple(tensor.shape)}, and trainable_token_indices names {max(counts)} tokens."
            yield Departure(what, "Save the adapter again where it was trained.")
