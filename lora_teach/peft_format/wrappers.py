"""Adapters saved from a wrapped model: their names carry the wrapper's, such as torch.compile's ``_orig_mod``."""

import re
from dataclasses import replace

from lora_teach.overlay.names import WRAPPED, unwrapped
from lora_teach.peft_format.folder import PREFIX

# In a key or list "_orig_mod.", in a regular expression "_orig_mod\\."
NAMES = re.compile(rf"(?<![\w])({'|'.join(WRAPPED)})\\?\.")
REPLICA = re.compile(r"^(\^?)module\\?\.")  # of DDP, at the beginning of a name


def wrapper_in(key):
    """Return the wrapper's name that ``key`` carries, or None."""
    found = NAMES.search(key)
    return found and found[1]


def without_wrappers(config, tensors, scales, base):
    """Return what was read of an adapter with the names that ``base`` has inside its wrappers.

    Raises:
        ValueError: Two tensors would have the same name.
    """
    keys = [NAMES.sub("", key) for key in tensors]
    replicated = "module" not in unwrapped(base)._modules and all(key.startswith(f"{PREFIX}module.") for key in keys)

    def plain(name):
        name = NAMES.sub("", name)
        return REPLICA.sub(r"\1", name) if replicated and keys else name

    renamed = {PREFIX + plain(key.removeprefix(PREFIX)) if key.startswith(PREFIX) else key: key for key in tensors}
    if len(renamed) < len(tensors):
        raise ValueError("the adapter holds tensors twice: under a wrapper's name, such as _orig_mod, and without it.")
    options = {}
    for name in ("target_modules", "exclude_modules", "modules_to_save"):
        value = getattr(config, name)
        options[name] = plain(value) if isinstance(value, str) else value and tuple(map(plain, value))
    for name in ("rank_pattern", "alpha_pattern"):
        options[name] = {plain(key): value for key, value in getattr(config, name).items()}
    tokens = config.trainable_token_indices
    if isinstance(tokens, dict):
        options["trainable_token_indices"] = {plain(key): value for key, value in tokens.items()}
    return (
        replace(config, **options),
        {new: tensors[old] for new, old in renamed.items()},
        {plain(path): scale for path, scale in scales.items()},
    )
