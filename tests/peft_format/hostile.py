"""Adapter folders that are broken on purpose, each by a seed."""

import json
import math
import os
import random
import struct

from lora_teach.peft_format.folder import CONFIG_FILE, WEIGHTS_FILE

REGEXES = [
    r"(((((((\w|\w\w|\.)+)+)+)+)+)+)+[-!]",
    "(" * 5000,
    "a{99999999999}",
    "[",
    r"(?P<x>.)(?P=x)*",
    ".*" * 40 + "-",
    r"\1",
    "(?x) a #",
]
VALUES = [
    None, True, False, 0, 1, -1, 2, 3, 4, 8, 10**9, 2**63, 10**400, 0.0, -0.0, 1e308, 1e-320, 0.5,
    math.nan, math.inf, -math.inf, "", "q_proj", "4", "../../x", "/etc/passwd", "\x00", "\ud83d", "x" * 10_000,
    [], [[]], ["q_proj"], ["q_proj"] * 3000, [0], [None], ["\n"], {}, {"q_proj": 3}, {"q_proj": math.nan},
    {"q_proj": 10**9}, {"(": 1}, {"": 4}, {"..": 1}, *REGEXES, *[{regex: 4} for regex in REGEXES],
]  # fmt: skip
FIELDS = """
    peft_type r lora_alpha use_rslora use_dora bias target_modules exclude_modules modules_to_save rank_pattern
    alpha_pattern lora_dropout init_lora_weights fan_in_fan_out inference_mode layers_to_transform something_new
""".split()
KEYS = [
    "", ".", "..", "../../x", "/etc/passwd", "base_model.model.", "base_model.model..lora_A.weight", "\x00", "é",
    "base_model.model.__class__.lora_A.weight", "base_model.model.blocks.0.q_proj.base_layer.weight", "training",
    "base_model.model.blocks.0.q_proj.lora_magnitude_vector", "base_model.model.head.weight", "__metadata__",
    "base_model.model.blocks.0.q_proj.base_layer.bias", "base_model.model.embedding.base_layer.bias", "x" * 2000,
]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 3, 7, 8, 9, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, 1.5, None, "8", [], {}]
DTYPES = ["F64", "F32", "F16", "BF16", "I64", "I8", "U8", "BOOL", "C64", "F8_E4M3", "F4", "", None, 3, "float32"]


def mutate(folder, secret, seed):
    """Break the adapter in ``folder`` in one to three ways that depend on ``seed``; return their names.

    ``secret`` is a good adapter elsewhere, to which links lead.
    """
    chance = random.Random(seed)
    ways = chance.choices(WAYS, k=chance.choice([1, 1, 1, 2, 3]))
    # A link comes last, so that no other way ever writes through it.
    ways = [way for way in ways if way not in LAST] + [way for way in ways if way in LAST][:1]
    for way in ways:
        try:
            way(folder, secret, chance)
        except (AttributeError, KeyError, OSError, TypeError, ValueError, struct.error, RecursionError):
            pass  # an earlier way has taken what this one needs; what is broken by now is broken enough
    return [way.__name__ for way in ways]


def truncate(folder, secret, chance):
    file = folder / chance.choice([CONFIG_FILE, WEIGHTS_FILE])
    file.write_bytes(file.read_bytes()[: chance.randrange(file.stat().st_size)])


def flip_bits(folder, secret, chance):
    file = folder / chance.choice([CONFIG_FILE, WEIGHTS_FILE, WEIGHTS_FILE])
    data = bytearray(file.read_bytes())
    for _ in range(chance.choice([1, 1, 2, 20])):
        data[chance.randrange(min(len(data), chance.choice([8, 100, 3000, 10**9])))] ^= 1 << chance.randrange(8)
    file.write_bytes(data)


def splice(folder, secret, chance):
    file = folder / chance.choice([CONFIG_FILE, WEIGHTS_FILE])
    data = file.read_bytes()
    start, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    middle = chance.choice(
        [b"", os.urandom(0), bytes(chance.randrange(256) for _ in range(40)), data[start:end] * 2, b"[" * 9]
    )
    file.write_bytes(data[:start] + middle + data[min(end, start + 60) :])


def claim_a_header_length(folder, secret, chance):
    file = folder / WEIGHTS_FILE
    length = chance.choice([0, 1, 7, 99, 10**8, 2**31, 2**40, 2**63, 2**64 - 1])
    file.write_bytes(struct.pack("<Q", length) + file.read_bytes()[8:])


def rewrite_header(folder, secret, chance):
    header, data = split(folder)
    for _ in range(chance.choice([1, 1, 3])):
        name = chance.choice(list(header))
        if name == "__metadata__" or not isinstance(header[name], dict):
            continue
        part = chance.choice(["dtype", "shape", "data_offsets", "gone", "extra", "whole"])
        if part == "dtype":
            header[name]["dtype"] = chance.choice(DTYPES)
        elif part == "shape":
            header[name]["shape"] = [chance.choice(NUMBERS) for _ in range(chance.randrange(5))]
        elif part == "data_offsets":
            header[name]["data_offsets"] = [chance.choice(NUMBERS) for _ in range(chance.choice([2, 2, 1, 3]))]
        elif part == "gone":
            del header[name]
        elif part == "extra":
            header[name + "x"] = header[name]
        else:
            header[name] = chance.choice(VALUES)
    join(folder, json.dumps(header), data)


def claim_a_huge_tensor(folder, secret, chance):
    header, data = split(folder)
    size = chance.choice([2**40, 2**62, 2**50 + 4])
    shape = chance.choice([[size // 4], [2**20, size // 2**22], [0, 2**62]])
    header[chance.choice(KEYS) or "x"] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + size]}
    join(folder, json.dumps(header), data)


def rename_keys(folder, secret, chance):
    header, data = split(folder)
    names = [name for name in header if name != "__metadata__"]
    for name in chance.sample(names, chance.choice([1, 2, len(names)])):
        new = chance.choice([chance.choice(KEYS), name.removeprefix("base_model."), name + ".default", name.upper()])
        header[new] = header.pop(name)
    join(folder, json.dumps(header), data)


def double_a_key(folder, secret, chance):
    if chance.random() < 0.5:
        file = folder / CONFIG_FILE
        value = json.dumps(chance.choice(VALUES))
        file.write_text(file.read_text().replace("{", f'{{"{chance.choice(FIELDS)}": {value},', 1))
        return
    header, data = split(folder)
    name = chance.choice(list(header))
    join(folder, json.dumps(header).replace("{", "{" + f"{json.dumps(name)}: {json.dumps(header[name])},", 1), data)


def change_config(folder, secret, chance):
    file = folder / CONFIG_FILE
    config = json.loads(file.read_text())
    for _ in range(chance.choice([1, 1, 2, 4])):
        field = chance.choice(FIELDS)
        if chance.random() < 0.15:
            config.pop(field, None)
        else:
            config[field] = chance.choice(VALUES)
    file.write_text(json.dumps(config))


def nest_deeply(folder, secret, chance):
    depth = chance.choice([900, 20_000, 200_000])
    deep = chance.choice(["[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth])
    if chance.random() < 0.5:
        field = chance.choice(FIELDS)
        (folder / CONFIG_FILE).write_text((folder / CONFIG_FILE).read_text().replace("{", f'{{"{field}": {deep},', 1))
        return
    header, data = split(folder)
    if chance.random() < 0.5:
        header["__metadata__"] = {"format": "pt", "lora_teach.scales": deep}
        join(folder, json.dumps(header), data)
    else:
        join(folder, json.dumps(header).replace("{", '{"deep": ' + deep + ",", 1), data)


def change_metadata(folder, secret, chance):
    header, data = split(folder)
    scales = json.loads(header["__metadata__"].get("lora_teach.scales", "{}"))
    for name in scales:
        scales[name] = chance.choice([*VALUES, 1.0])
    key = chance.choice(["lora_teach.scales", "lora_teach.learnable_scaling"])
    header["__metadata__"][key] = chance.choice([json.dumps(scales), json.dumps(chance.choice(VALUES)), "{", "NaN"])
    if chance.random() < 0.1:
        header["__metadata__"] = chance.choice(VALUES)
    join(folder, json.dumps(header), data)


def spoil_numbers(folder, secret, chance):
    header, data = split(folder)
    bad = chance.choice([math.nan, math.inf, -math.inf, 3e38, 1e-45])
    place = 4 * chance.randrange(len(data) // 4)
    join(folder, json.dumps(header), data[:place] + struct.pack("<f", bad) + data[place + 4 :])


def link_out(folder, secret, chance):
    name = chance.choice([CONFIG_FILE, WEIGHTS_FILE])
    (folder / name).unlink()
    target = chance.choice([secret / name, "/dev/zero", "nowhere", name, "..", secret])
    (folder / name).symlink_to(target)


def put_something_else(folder, secret, chance):
    name = chance.choice([CONFIG_FILE, WEIGHTS_FILE])
    (folder / name).unlink()
    kind = chance.choice(["nothing", "folder", "pipe", "empty", "pickle", "sparse"])
    if kind == "folder":
        (folder / name).mkdir()
    elif kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "empty":
        (folder / name).touch()
    elif kind == "pickle":
        pickled = b'cbuiltins\neval\n(S\'__import__("os").mkdir("owned")\'\ntR.'
        (folder / chance.choice([name, "adapter_model.bin"])).write_bytes(pickled)
    elif kind == "sparse":
        with open(folder / name, "wb") as file:
            file.truncate(2**36)  # 64 GiB that take no room on the disk


WAYS = [
    truncate, flip_bits, flip_bits, splice, claim_a_header_length, rewrite_header, rewrite_header, claim_a_huge_tensor,
    rename_keys, double_a_key, change_config, change_config, change_config, nest_deeply, change_metadata, spoil_numbers,
    link_out, put_something_else,
]  # fmt: skip
LAST = (link_out, put_something_else)


def split(folder):
    """Return the header of the file of weights, as a dict, and its data."""
    whole = (folder / WEIGHTS_FILE).read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    return json.loads(whole[8 : 8 + length]), whole[8 + length :]


def join(folder, header, data):
    """Write the file of weights from a header, as text, and data."""
    header = header.encode("utf-8", "surrogatepass")
    header += b" " * (-len(header) % 8)
    (folder / WEIGHTS_FILE).write_bytes(struct.pack("<Q", len(header)) + header + data)
