"""adapter_config.json, from a LoRAConfig and back: what PEFT would overlook in silence is said aloud."""

import re
import warnings
from collections import Counter
from pathlib import Path

from lora_teach.config import LoRAConfig
from lora_teach.layer import VARIANTS
from lora_teach.layers.tokens import TrainedTokens
from lora_teach.overlay.names import named_modules
from lora_teach.overlay.nested_modules import walk
from lora_teach.overlay.targets import matches
from lora_teach.utils.patterns import MOST_CLASSES

# What PEFT may write into a config that this reader does not follow: each would silently change the result.
NOT_FOLLOWED = """
    alora_invocation_tokens arrow_config corda_config kasa_config layer_replication layers_pattern
    layers_to_transform lora_bias megatron_config monteclora_config target_parameters use_bdlora
    use_qalora velora_config
""".split()
# What a config should say even where it is PEFT's default, with that default.
ALWAYS = {
    "use_rslora": False, "use_dora": False, "bias": "none", "fan_in_fan_out": False, "modules_to_save": None,
    "rank_pattern": {}, "alpha_pattern": {}, "lora_dropout": 0.0, "init_lora_weights": True, "inference_mode": False,
}  # fmt: skip
# Every field that PEFT 0.21 knows.
KNOWN = {*ALWAYS, *NOT_FOLLOWED} | set(
    """
    auto_mapping base_model_name_or_path ensure_weight_tying eva_config exclude_modules loftq_config lora_alpha
    lora_ga_config megatron_core peft_type peft_version qalora_group_size r revision runtime_config target_modules
    task_type trainable_token_indices
    """.split()
)
# What PEFT writes where a list of names belongs. Which layers the first one took, the keys of the file say.
ALL_LINEAR, NO_LAYERS = "all-linear", "dummy-target-modules"
# Up to here a config is read: its expressions are compiled before they can be stopped.
MOST_NAMES, MOST_CHARACTERS = 5_000, 250_000
TOKENS = "trainable_token_indices"
# Starts of A and B that leave the base as it is, and with it what the plain factors mean.
HARMLESS_STARTS = (True, False, "gaussian", "orthogonal", "eva")


def from_peft(raw, where, warn=True):
    """Return the LoRAConfig that says what ``raw``, the contents of adapter_config.json, says.

    Args:
        raw: What the JSON holds, of whatever type.
        where: The file, for messages.
        warn: Whether to warn; `lint` lists what is missing itself.

    Raises:
        ValueError: No LoRA adapter, a field that is missing or wrong, or an option that is not followed here.

    Warns:
        UserWarning: ``use_rslora`` is missing, or a field says something that is unknown here.
    """
    if not isinstance(raw, dict) or raw.get("peft_type") != "LORA":
        raise ValueError(f"{where}: peft_type is not 'LORA', so this is no LoRA adapter.")
    _check_sizes(raw, where)
    for name in ("r", "lora_alpha", "target_modules"):
        if raw.get(name) is None:
            raise ValueError(f"{where}: {name!r} is missing; PEFT would use its default, whatever the adapter was.")
    for name in NOT_FOLLOWED:
        if (said := raw.get(name)) or (said == 0 and said is not False):  # layers_to_transform=0 is the first layer
            raise ValueError(f"{where}: {name}={said!r} is not followed here, and the result would be wrong.")
    if raw.get("ensure_weight_tying") and raw.get("modules_to_save"):
        raise ValueError(
            f"{where}: ensure_weight_tying lets what is tied to modules_to_save={raw['modules_to_save']!r} follow it, "
            "which is not followed here, and the result would be wrong. Merge it with PEFT (merge_and_unload)."
        )
    for name in ("use_rslora", *(field for layers in VARIANTS.values() for field in fields_of(layers))):
        if not isinstance(raw.get(name, False), bool | None):
            raise ValueError(f"{where}: {name}={raw[name]!r} is not true or false.")
    if raw.get("bias", "none") not in ("none", "lora_only", "all"):
        raise ValueError(f"{where}: bias={raw['bias']!r} is unknown. Use one of: 'none', 'lora_only', 'all'.")
    if raw.get("init_lora_weights", True) not in HARMLESS_STARTS:
        raise ValueError(
            f"{where}: init_lora_weights={raw['init_lora_weights']!r} changed the base weights, so this adapter "
            "is wrong on the original base. Convert it with PEFT (path_initial_model_for_weight_conversion) first."
        )
    if warn and raw.get("use_rslora") is None:
        warnings.warn(
            f"{where} does not say use_rslora, so the scale is taken as lora_alpha/r. If the adapter was trained with "
            "rsLoRA, that is too small by a factor of √r: write the field into the file.",
            stacklevel=4,
        )
    unknown = [f"{name}: {str(raw[name])[:80]}" for name in sorted(raw) if name not in KNOWN and raw[name]]
    if warn and unknown:
        warnings.warn(
            f"{where} has fields that are unknown here and not followed: {'; '.join(unknown[:5])}. If a newer PEFT "
            "knows them, the result may be wrong.",
            stacklevel=4,
        )
    targets = raw["target_modules"]
    try:
        return LoRAConfig(
            rank=raw["r"],
            alpha=raw["lora_alpha"],
            target_modules=None if str(targets).lower() in (ALL_LINEAR, NO_LAYERS) else targets,
            exclude_modules=raw.get("exclude_modules") or (),
            modules_to_save=raw.get("modules_to_save") or (),
            scaling="alpha/sqrt(r)" if raw.get("use_rslora") else "alpha/r",
            dropout=raw.get("lora_dropout", 0.0),
            variant=next((name for name, layers in VARIANTS.items() if _says(raw, fields_of(layers))), "lora"),
            rank_pattern=raw.get("rank_pattern") or {},
            alpha_pattern=raw.get("alpha_pattern") or {},
            trainable_token_indices=raw.get("trainable_token_indices") or None,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def fields_of(layers):
    """Return what a config says of a variant, ``{field: value}``, from its entry in ``VARIANTS``."""
    return next(iter(layers.values())).file_fields


def told_by(layer_class):
    """Return where a file tells that its layers are of this class: a field of the config, or the tensors' metadata."""
    return next(iter(layer_class.file_fields), f"lora_teach.variant={layer_class.variant!r} in its metadata")


def _says(raw, fields):
    return bool(fields) and all(raw.get(field) == value for field, value in fields.items())


def _check_sizes(raw, where):
    """Raise ValueError if the config names more than could be looked through in a few seconds."""
    for name in ("target_modules", "exclude_modules", "modules_to_save", "rank_pattern", "alpha_pattern", TOKENS):
        value = raw.get(name)
        if isinstance(value, list | dict) and len(value) > MOST_NAMES:
            raise ValueError(f"{where}: {name} has {len(value):,} entries; up to {MOST_NAMES:,} are read.")
    parts = [raw.get(name) for name in ("target_modules", "exclude_modules")]
    for pattern in (raw.get("rank_pattern"), raw.get("alpha_pattern")):
        parts += pattern if isinstance(pattern, dict) else ()
    parts = [part for part in parts if isinstance(part, str)]
    signs, classes = sum(map(len, parts)), sum(part.count("[") for part in parts)
    if signs > MOST_CHARACTERS or classes > MOST_CLASSES:
        raise ValueError(
            f"{where}: its regular expressions have {signs:,} characters and {classes:,} character classes; up to "
            f"{MOST_CHARACTERS:,} and {MOST_CLASSES} are read. Use lists of names."
        )


def expressions(config):
    """List the regular expressions of a LoRAConfig."""
    whole = [one for one in (config.target_modules, config.exclude_modules) if isinstance(one, str)]
    return [*whole, *config.rank_pattern, *config.alpha_pattern]


def to_peft(model, adapter_name, scales):
    """Return what adapter_config.json says of an adapter of a LoRAModel.

    Args:
        model: The LoRAModel.
        adapter_name: Which adapter.
        scales: ``{path: scale}`` of its layers as they are now. Where no alpha of the config's rule gives that scale,
            the alpha is written that does.
    """
    config = model.configs[adapter_name]
    layers = dict(walk(model.adapters[adapter_name]))
    stabilised = config.scaling == "alpha/sqrt(r)"
    ranks = {path: len(layer.file_parts()["A"]) for path, layer in layers.items()}
    alphas = {path: layer.alpha for path, layer in layers.items()}
    for path, layer in layers.items():  # PEFT knows two rules: any other scale is told as the alpha that gives it
        divisor = ranks[path] ** 0.5 if stabilised else ranks[path]
        if config.scaling == "alpha" or scales[path] != layer.alpha / divisor:
            alphas[path] = scales[path] * divisor
    copies = dict(walk(model.saved_modules[adapter_name]))
    tokens = {path: copies.pop(path) for path in list(copies) if isinstance(copies[path], TrainedTokens)}
    targets, excluded = _target_names(model, layers)
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] if values else 1 for values in (ranks, alphas))
    # Only the tables themselves: PEFT lets what is tied to the embedding follow it, as it is here.
    tokens = {path: one.indices.tolist() for path, one in tokens.items() if not one.follows}
    return {
        "peft_type": "LORA",
        "peft_version": None,
        "task_type": None,
        "base_model_name_or_path": _name_of(model.base_model),
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "use_rslora": stabilised,
        "use_dora": False,
        "lora_dropout": config.dropout,
        "bias": "lora_only" if any(hasattr(layer, "trained_bias") for layer in layers.values()) else "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "target_modules": targets,
        "exclude_modules": excluded,
        "modules_to_save": list(copies) or None,
        "rank_pattern": {"^" + re.escape(path): value for path, value in ranks.items() if value != rank},
        "alpha_pattern": {"^" + re.escape(path): value for path, value in alphas.items() if value != alpha},
        **{field: value for layer in layers.values() for field, value in layer.file_fields.items()},
        **({TOKENS: tokens} if tokens else {}),
    }


def _name_of(base):
    """Return the id of ``base`` on the hub; None if there is none: a path tells of this machine, and leads nowhere."""
    name = getattr(getattr(base, "config", None), "name_or_path", None) or None
    return None if name is None or Path(name).is_absolute() or Path(name).exists() else name


def _target_names(model, layers):
    """Return ``(target_modules, exclude_modules)``, as short as can be, that match exactly the adapted modules."""
    if not layers:  # only modules_to_save
        return NO_LAYERS, None
    names = [name for name, _ in named_modules(model.base_model) if name]
    for wanted in (sorted({path.rpartition(".")[2] for path in layers}), list(layers)):
        others = [name for name in names if matches(name, wanted) and name not in layers]
        if not others:
            return wanted, None
    if not any(matches(path, others) for path in layers):  # names that end as an adapted one does
        return wanted, others
    return "|".join(re.escape(path) for path in layers), None
