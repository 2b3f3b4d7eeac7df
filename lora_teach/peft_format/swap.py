"""The two files of an adapter are replaced as one: whoever reads them meets the old pair or the new, never a mixture.

The config is moved aside, the weights are replaced, the new config is moved in. Broken off between two of these moves,
the folder has no config, so that PEFT refuses it; both configs lie beside it, and a hash in the weights' metadata says
which one is theirs.
"""

import os
from hashlib import sha256
from pathlib import Path

from lora_teach.utils.atomic_write import replace_file

from safetensors import SafetensorError, safe_open

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
OLD, NEW = f".{CONFIG_FILE}-old", f".{CONFIG_FILE}-new"
HASH = "lora_teach.config_sha256"


def write_pair(folder, config, write_weights):
    """Write an adapter into ``folder``: ``config`` is its JSON's text; ``write_weights(file, metadata)`` writes them.

    Raises:
        OSError: It can't be written; what was there before stays.
    """
    place = folder / CONFIG_FILE
    folder.mkdir(parents=True, exist_ok=True)
    settle(folder)

    def write(file):
        write_weights(file, {HASH: sha256(config.encode()).hexdigest()})
        if place.is_file():
            os.replace(place, folder / OLD)

    try:
        replace_file(folder / NEW, lambda file: file.write_bytes(config.encode()))
        replace_file(folder / WEIGHTS_FILE, write)
        os.replace(folder / NEW, place)
    except SafetensorError as error:
        raise OSError(f"{folder / WEIGHTS_FILE} can't be written: {error}") from error
    finally:
        settle(folder)


def settle(folder):
    """Bring a replacement that was broken off to an end, and clear away what it left."""
    kept = broken_off(folder)
    if kept is not None:
        os.replace(kept, folder / CONFIG_FILE)
    for name in (OLD, NEW):
        (folder / name).unlink(missing_ok=True)


def broken_off(folder):
    """Return the config that belongs to the weights in ``folder``, if a replacement was broken off there, or None."""
    folder = Path(folder)
    beside = [folder / name for name in (NEW, OLD) if (folder / name).is_file()]
    if not beside or (folder / CONFIG_FILE).exists():
        return None
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="pt") as opened:
            hashed = (opened.metadata() or {}).get(HASH)
    except (OSError, SafetensorError):
        return None
    matching = [file for file in beside if sha256(file.read_bytes()).hexdigest() == hashed]
    others = [file for file in beside if file.name == OLD]  # of an adapter that someone else wrote
    return (matching or others or [None])[0]
