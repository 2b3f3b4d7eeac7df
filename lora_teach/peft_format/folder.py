"""What is read of an adapter's folder, and how: two files, no pickle, nothing that lies outside."""

from pathlib import Path

from lora_teach.layer import VARIANTS
from lora_teach.peft_format.swap import CONFIG_FILE, WEIGHTS_FILE, broken_off
from lora_teach.utils.reading import parse_json, refuse_lfs_pointer

from safetensors import safe_open

PREFIX = "base_model.model."
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
LARGEST_CONFIG = 1_000_000  # bytes; a config has a few thousand
LONGEST_KEY = 1000  # characters
MOST_TENSORS = 100_000
LONGEST_SIDE = 2**22  # of a tensor; the largest vocabularies have 2**18
TOKEN_ROWS = ".token_adapter.trainable_tokens_delta"


def find(folder, adapter_name="default"):
    """Return where the adapter lies: in the sub-folder of its name, if there is one, or in ``folder`` itself.

    Raises:
        FileNotFoundError: ``folder`` holds no adapter, but its sub-folders do; the message lists them.
    """
    folder = Path(folder)
    inner = folder / adapter_name
    if adapter_name != "default" and ((inner / CONFIG_FILE).is_file() or broken_off(inner)):
        return inner
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
        ValueError: It is a link to a file outside the folder, or Git LFS's pointer to one.
    """
    file = Path(folder) / name
    if not file.is_file() and name == CONFIG_FILE:
        file = broken_off(folder) or file
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
    refuse_lfs_pointer(file)
    return file


def pickles(folder):
    """List the names of the pickles in ``folder``. They are never opened."""
    return sorted(path.name for pattern in PICKLES for path in Path(folder).glob(pattern))


def read_json(file):
    """Return what the JSON file holds; ValueError if it is damaged, huge, nested too deeply or says a thing twice."""
    if file.stat().st_size > LARGEST_CONFIG:
        raise ValueError(f"{file} has {file.stat().st_size:,} bytes; a config has a few thousand, so it is not read.")
    try:
        return parse_json(file.read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no JSON: the text is not UTF-8 (byte {error.start}).") from None
    except ValueError as error:
        why = str(error)
        raise ValueError(f"{file} is {why}" if why.startswith("no JSON") else f"{file}: {why}") from None


def read_tensors(file):
    """Return ``(tensors, metadata)`` of a safetensors file, two dicts; ValueError if it is damaged or huge."""
    try:
        with safe_open(file, framework="pt") as opened:
            keys, metadata = list(opened.keys()), opened.metadata() or {}
            if max(map(len, keys), default=0) > LONGEST_KEY:
                raise ValueError(f"a key has more than {LONGEST_KEY:,} characters")
            if len(keys) > MOST_TENSORS:
                raise ValueError(f"it has {len(keys):,} tensors; up to {MOST_TENSORS:,} are read")
            for key in keys:
                if max(shape := opened.get_slice(key).get_shape(), default=0) > LONGEST_SIDE:
                    raise ValueError(f"{key!r} has shape {tuple(shape)}; up to {LONGEST_SIDE:,} a side are read")
            return {key: opened.get_tensor(key) for key in keys}, metadata
    except Exception as error:  # besides SafetensorError, whatever a dtype unknown to this PyTorch raises
        raise ValueError(f"{file} is damaged: {error}") from None


def layer_classes():
    """List the classes of all registered layers."""
    return [layer_class for kinds in VARIANTS.values() for layer_class in kinds.values()]


def key_ends(classes=None):
    """Return ``{end of a key: the part of a layer that it holds}``, as the layers themselves tell."""
    return {
        end: part for one in (layer_classes() if classes is None else classes) for end, part in one.file_keys.items()
    }


def key_of(layer_class, part):
    """Return the end of the key under which a layer's ``part`` is written."""
    return next(end for end, one in layer_class.file_keys.items() if one == part)


def layers_of(keys):
    """Return ``{path of a layer: {"A": key, "B": key, …}}``, with what of its parts is there."""
    ends, layers = key_ends(), {}
    for key in keys:
        for end, part in ends.items():
            if key.startswith(PREFIX) and key.endswith(end):
                layers.setdefault(key.removeprefix(PREFIX).removesuffix(end), {})[part] = key
    return layers
