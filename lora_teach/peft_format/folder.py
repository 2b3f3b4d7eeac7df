"""What is read of an adapter's folder, and how: two files, no pickle, nothing that lies outside."""

import json
from pathlib import Path

from safetensors import safe_open

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
LARGEST_CONFIG = 1_000_000  # bytes; a config has a few thousand
LONGEST_KEY = 1000  # characters


def find(folder, adapter_name="default"):
    """Return where the adapter lies: in the sub-folder of its name, if there is one, or in ``folder`` itself.

    Raises:
        FileNotFoundError: ``folder`` holds no adapter, but its sub-folders do; the message lists them.
    """
    folder = Path(folder)
    if adapter_name != "default" and (folder / adapter_name / CONFIG_FILE).is_file():
        return folder / adapter_name
    if folder.is_dir() and not (folder / CONFIG_FILE).is_file() and not (folder / WEIGHTS_FILE).is_file():
        inner = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG_FILE}"))
        if inner:
            raise FileNotFoundError(
                f"{folder} holds no adapter itself; its sub-folders do: {', '.join(inner)}. Use one of them, such as "
                f"{folder / inner[0]}."
            )
    return folder


def own_file(folder, name):
    """Return the path of the file ``name`` in ``folder``, as long as that is where it lies.

    Raises:
        FileNotFoundError: It is missing; a pickle in its place is named, and refused.
        ValueError: It is a link to a file outside the folder.
    """
    file = Path(folder) / name
    if not file.is_file():
        found = pickles(folder)
        why = f" {found[0]} is a pickle, which can execute code when read, so it is refused." if found else ""
        raise FileNotFoundError(f"{folder} has no {name}, so it is no adapter in PEFT's format.{why}")
    home, real = Path(folder).resolve(), file.resolve()
    # The Hugging Face cache keeps a file once, in blobs/, and links to it from snapshots/<revision>/.
    if not real.is_relative_to(home) and real.parent != home.parent.parent / "blobs":
        raise ValueError(
            f"{file} is a link to {real}, outside the folder, so it is not read. Put the file itself there."
        )
    return file


def pickles(folder):
    """List the names of the pickles in ``folder``. They are never opened."""
    return sorted(path.name for pattern in PICKLES for path in Path(folder).glob(pattern))


def read_json(file):
    """Return what the JSON file holds; ValueError if it is damaged, huge, nested too deeply or says a thing twice."""
    if file.stat().st_size > LARGEST_CONFIG:
        raise ValueError(f"{file} has {file.stat().st_size:,} bytes; a config has a few thousand, so it is not read.")
    twice = []

    def once(pairs):
        keys = [key for key, _ in pairs]
        twice.extend(key for key in set(keys) if keys.count(key) > 1) if len(set(keys)) < len(keys) else None
        return dict(pairs)

    try:
        found = json.loads(file.read_text("utf-8"), object_pairs_hook=once)
    except RecursionError:
        raise ValueError(f"{file} is no JSON that can be read: it is nested too deeply.") from None
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}") from None
    if twice:
        raise ValueError(f"{file} says {min(twice)!r} twice, and readers differ in which one counts. Leave one.")
    return found


def read_tensors(file):
    """Return ``(tensors, metadata)`` of a safetensors file, two dicts; ValueError if it is damaged."""
    try:
        with safe_open(file, framework="pt") as opened:
            keys, metadata = list(opened.keys()), opened.metadata() or {}
            if max(map(len, keys), default=0) > LONGEST_KEY:
                raise ValueError(f"a key has more than {LONGEST_KEY:,} characters")
            return {key: opened.get_tensor(key) for key in keys}, metadata
    except Exception as error:  # besides SafetensorError, whatever a dtype unknown to this PyTorch raises
        raise ValueError(f"{file} is damaged: {error}") from None
