"""The checks of notebook 09 know the solution, the stub and the usual mistakes, and take unusual right answers."""

import hashlib
import json
import os
import random
import zlib
from pathlib import Path

from lora_teach.datasets.holding_out import hold_out as of_the_library
from lora_teach.exercises import TODO, check_hold_out, check_save, ready_made

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}


def place(prompt):
    digest = hashlib.sha256(prompt.strip().lower().encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def hold_out(prompts, share):
    train = [prompt for prompt in prompts if place(prompt) >= share]
    return train, [prompt for prompt in prompts if place(prompt) < share]


def by(number):
    """Hold out the prompts whose number, from 0 to 1, is below the share."""

    def divide(prompts, share):
        return [p for p in prompts if number(p) >= share], [p for p in prompts if number(p) < share]

    return divide


def plain(prompt):
    return prompt.strip().lower()


def by_the_librarys(prompts, share):
    train, _, test = of_the_library(prompts, str, 0, share)
    return train, test


def one_by_one(prompts, share):
    sides = {}
    for prompt in prompts:
        sides.setdefault(zlib.crc32(plain(prompt).encode()) % 1000 < 1000 * share, []).append(prompt)
    return sides[False], sides[True]


def by_array(prompts, share):
    numbers = np.array([place(prompt) for prompt in prompts])
    every = np.array(prompts, dtype=object)
    return every[numbers >= share], every[numbers < share]


@pytest.mark.parametrize(
    "right",
    [
        hold_out,
        by_the_librarys,
        one_by_one,
        by_array,
        by(lambda p: random.Random(plain(p)).random()),
        by(lambda p: int(hashlib.md5(plain(p).encode()).hexdigest(), 16) % 1000 / 1000),
        by(lambda p: sum(i * ord(letter) for i, letter in enumerate(plain(p), 7)) * 7919 % 1009 / 1009),
        by(lambda p: torch.rand(1, generator=torch.Generator().manual_seed(zlib.crc32(plain(p).encode()))).item()),
        lambda prompts, share: tuple(map(tuple, hold_out(prompts, share))),
        lambda a, b: [(p for p in part) for part in hold_out(a, b)],
    ],
)
def test_right_divisions_pass(right):
    result = check_hold_out(right)
    assert result.passed, result.message


def test_no_good_hash_is_refused_for_its_luck():
    for salt in range(30):
        salted = by(lambda p, salt=salt: int(hashlib.md5(f"{salt} {plain(p)}".encode()).hexdigest(), 16) % 1000 / 1000)
        result = check_hold_out(salted)
        assert result.passed, f"{salt}: {result.message}"


def shuffled(prompts, share, seed=0):
    order = list(prompts)
    random.Random(seed).shuffle(order)
    return order[int(share * len(order)) :], order[: int(share * len(order))]


def sample_of_the_set(prompts, share):
    different = sorted({plain(prompt) for prompt in prompts})
    held = set(random.Random(0).sample(different, round(share * len(different))))
    return [p for p in prompts if plain(p) not in held], [p for p in prompts if plain(p) in held]


def without_repetitions(prompts, share):
    return hold_out(list(dict.fromkeys(prompts)), share)


def dropped_from_training(prompts, share):
    train, held = shuffled(prompts, share)
    return [p for p in train if p not in held], held


WRONG = {
    "random lines": (lambda p, s: shuffled(p, s, None), "both sides"),
    "random lines, seeded": (shuffled, "both sides"),
    "the first lines": (lambda p, s: (p[int(s * len(p)) :], p[: int(s * len(p))]), "both sides"),
    "every fifth line": (lambda p, s: ([x for i, x in enumerate(p) if i % 5], p[::5]), "both sides|changed sides"),
    "case counts": (by(lambda p: int(hashlib.md5(p.encode()).hexdigest(), 16) % 1000 / 1000), "both sides"),
    "blanks count": (by(lambda p: zlib.crc32(p.lower().encode()) % 1000 / 1000), "both sides"),
    "a sample of the set": (sample_of_the_set, "changed sides"),
    "Python's hash": (by(lambda p: hash(plain(p)) % 1000 / 1000), "another process"),
    "repetitions lost": (without_repetitions, "are lost"),
    "leaks thrown away": (dropped_from_training, "are lost"),
    "lower case comes back": (lambda p, s: hold_out([plain(x) for x in p], s), "as it is"),
    "the wrong way round": (lambda p, s: hold_out(p, s)[::-1], "wrong way round"),
    "the rest of the share": (lambda p, s: hold_out(p, 1 - s), "wrong way round"),
    "a share in percent": (lambda p, s: hold_out(p, s / 100), "should be"),
    "always a fifth": (lambda p, s: hold_out(p, 0.2), "35% should be"),
    "whole tenths": (lambda p, s: hold_out(p, int(10 * s) / 10), "35% should be"),
    "every so many": (lambda p, s: hold_out(p, 1 / int(1 / s)), "35% should be"),
    "by the first letter": (lambda p, s: by(lambda x: (ord(plain(x)[0]) - 97) / 26)(p, s), "should be"),
    "by the length": (by(lambda p: len(plain(p)) % 5 / 5), "should be|length"),
    "by the last letter": (
        by(lambda p: zlib.crc32(plain(p)[-1].encode()) % 97 / 97),
        "should be|last letter",
    ),
    "nothing held out": (lambda p, s: (p, []), "should be"),
    "one list": (lambda p, s: hold_out(p, s)[0], "two lists"),
    "yes and no": (lambda p, s: [place(x) < s for x in p], "two lists"),
    "numbers of lines": (lambda p, s: tuple([p.index(x) for x in part] for part in hold_out(p, s)), "are lost"),
    "three lists": (lambda p, s: (*hold_out(p, s), []), "two lists"),
    "a dict": (lambda p, s: dict(zip(("train", "held"), hold_out(p, s), strict=True)), "two lists"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_divisions_do_not_pass(name):
    wrong, said = WRONG[name]
    result = check_hold_out(wrong)
    assert result.status == "NOT YET" and any(one in result.message for one in said.split("|")), result.message


def test_stubs_are_to_do():
    assert check_hold_out(lambda prompts, share: TODO).status == "TODO"
    assert check_save(lambda layers, folder: TODO).status == "TODO"


def test_the_hash_is_pythons_again_afterwards():
    before = hash("ada")
    check_hold_out(hold_out)
    assert hash("ada") == before


def saving(key="base_model.model.{}.{}.weight", turn=lambda one: one.T, config=lambda config, rank, scaling: config,
           kinds=("lora_A", "lora_B"), names=lambda layers: list(layers), file="adapter_model.safetensors",
           told="adapter_config.json", write=json.dumps):  # fmt: skip
    """A save whose parts can be exchanged for wrong ones."""

    def save(layers, folder):
        tensors = {
            key.format(name, kind): turn(getattr(layer, kind).detach()).contiguous()
            for name, layer in layers.items()
            for kind in kinds
        }
        rank, scaling = layer_of(layers).lora_A.shape[1], layer_of(layers).scaling
        said = {"peft_type": "LORA", "r": rank, "lora_alpha": scaling * rank, "target_modules": names(layers)}
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_file(tensors, Path(folder) / file)
        (Path(folder) / told).write_text(write(config(said, rank, scaling)))

    return save


def layer_of(layers):
    return next(iter(layers.values()))


def without(key):
    return lambda config, *_: {name: value for name, value in config.items() if name != key}


def by_os(layers, folder):
    os.makedirs(folder)
    tensors = {}
    for name, layer in layers.items():
        tensors |= {f"base_model.model.{name}.lora_{x}.weight": layer.state_dict()[f"lora_{x}"].mT.clone(
            memory_format=torch.contiguous_format) for x in "AB"}  # fmt: skip
    with open(os.path.join(folder, "adapter_config.json"), "w") as file:
        r = layer.lora_B.shape[0]
        json.dump(dict(r=r, lora_alpha=layer.scaling * r, peft_type="LORA", target_modules=[*layers]), file)
    save_file(tensors, os.path.join(folder, "adapter_model.safetensors"))


def changed_places(layers, folder):
    saving()(layers, folder)
    file, other = Path(folder) / "adapter_model.safetensors", str.maketrans("AB", "BA")
    save_file({key.translate(other): one.clone() for key, one in load_file(file).items()}, file)


RIGHT_SAVES = {
    "the usual": saving(),
    "the library's": ready_made.save,
    "by os": by_os,
    "more in the config": saving(config=lambda c, *_: {**c, "task_type": None, "bias": "none", "use_rslora": False}),
    "a regular expression": saving(names=lambda layers: r"first|blocks\.[01]\.up"),
    "indented": saving(write=lambda config: json.dumps(config, indent=2)),
}


@pytest.mark.parametrize("right", RIGHT_SAVES.values(), ids=RIGHT_SAVES)
def test_right_folders_pass(right):
    result = check_save(right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (saving(turn=lambda one: one), "turn each with .T"),
        (saving(turn=lambda one: one.reshape(one.shape[::-1])), ".reshape keeps the order"),
        (saving(turn=lambda one: 2 * one.T), "2 times"),
        (saving(key="{}.{}.weight"), "among the keys"),
        (saving(key="base_model.model.{}.{}"), "among the keys"),
        (saving(kinds=("lora_B",)), "lora_A"),
        (saving(config=without("lora_alpha")), "lacks lora_alpha"),
        (saving(config=without("peft_type")), "lacks peft_type"),
        (saving(config=lambda c, r, s: {**c, "lora_alpha": s}), "divides by r once more"),
        (saving(config=lambda c, r, s: {**c, "lora_alpha": r}), "That is the rank"),
        (saving(config=lambda c, r, s: {**c, "r": 8}), "r, the rank"),
        (saving(config=lambda c, r, s: {**c, "use_rslora": True}), "with the folder read by PEFT"),
        (saving(names=lambda layers: ["first"]), "target_modules does not name"),
        (saving(names=lambda layers: [*layers, "last"]), "By this target_modules PEFT adapts"),
        (saving(names=lambda layers: "all-linear"), "By this target_modules PEFT adapts"),
        (saving(config=lambda c, r, s: {**c, "lora_alpha": int(r * s)}), "needn't be a whole number"),
        (changed_places, "A and B have changed places"),
        (saving(names=lambda layers: "nothing"), "PEFT does not read the folder"),
        (saving(file="model.safetensors"), "adapter_model.safetensors is not in the folder"),
        (saving(told="config.json"), "adapter_config.json is not in the folder"),
        (saving(write=str), "is no JSON"),
        (lambda layers, folder: None, "no such folder"),
    ],
)
def test_wrong_folders_do_not_pass(wrong, said):
    result = check_save(wrong)
    assert said in str(result) and result.status == "NOT YET", result.message
