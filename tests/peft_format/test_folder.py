"""What is read of a folder: two files, no pickle, nothing that lies outside."""

import os
import shutil

from lora_teach import LoRAModel
from lora_teach.peft_format.folder import (
    CONFIG_FILE,
    LARGEST_CONFIG,
    LONGEST_KEY,
    WEIGHTS_FILE,
    find,
    own_file,
    pickles,
    read_json,
    read_tensors,
)
from lora_teach.peft_format.lint import lint
from lora_teach.peft_format.xray import xray
from tests.peft_format.folders import adapted, base

import pytest
import torch
from safetensors.torch import save_file


def test_an_adapter_is_found_in_its_sub_folder_or_in_the_folder_itself(tmp_path):
    assert find(str(tmp_path)) == tmp_path
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / CONFIG_FILE).touch()
    assert find(tmp_path, "a") == tmp_path / "a"
    for name in ("default", "c"):
        with pytest.raises(FileNotFoundError, match=f"its sub-folders do: a, b. Use one of them, such as .*{os.sep}a"):
            find(tmp_path, name)
    for file in (WEIGHTS_FILE, CONFIG_FILE):  # an adapter that lacks one file is damaged: the reader says which
        (tmp_path / file).touch()
        assert find(tmp_path) == find(tmp_path, "c") == tmp_path
        assert find(tmp_path, "a") == tmp_path / "a"
        (tmp_path / file).unlink()
    (tmp_path / "default").mkdir()
    (tmp_path / "default" / CONFIG_FILE).touch()
    (tmp_path / CONFIG_FILE).touch()
    assert find(tmp_path) == tmp_path  # as PEFT, which gives "default" no sub-folder


def test_pickles_are_listed_by_name(tmp_path):
    for name in ("b.bin", "a.pt", "c.pth", "d.pkl", "e.ckpt", "f.safetensors", "bin"):
        (tmp_path / name).touch()
    assert pickles(tmp_path) == ["a.pt", "b.bin", "c.pth", "d.pkl", "e.ckpt"]


def test_a_missing_file_is_told_and_a_pickle_in_its_place_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no x.json, so it is no adapter in PEFT's format.$"):
        own_file(tmp_path, "x.json")
    (tmp_path / "b.bin").touch()
    with pytest.raises(FileNotFoundError, match="format. b.bin is a pickle, which can execute code when read"):
        own_file(tmp_path, "x.json")
    (tmp_path / "x.json").touch()
    assert own_file(str(tmp_path), "x.json") == tmp_path / "x.json"


def test_a_config_of_the_largest_size_is_read_and_one_byte_more_is_not(tmp_path):
    file = tmp_path / CONFIG_FILE
    file.write_text('{"é": 1}'.ljust(LARGEST_CONFIG - 1), "utf-8")  # é has two bytes
    assert read_json(file) == {"é": 1}
    file.write_text('{"é": 1}'.ljust(LARGEST_CONFIG), "utf-8")
    with pytest.raises(ValueError, match="1,000,001 bytes; a config has a few thousand"):
        read_json(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [('{"b": 1, "a": 1, "b": 2, "a": 3}', "says 'a' twice"), ('{"x": [{"c": 1, "c": 1}]}', "says 'c' twice"),
     ("{", "is no JSON: "), ("[" * 100_000, "nested too deeply")],
)  # fmt: skip
def test_a_config_that_says_a_thing_twice_or_is_no_json_is_refused(tmp_path, text, words):
    (tmp_path / CONFIG_FILE).write_text(text)
    with pytest.raises(ValueError, match=words):
        read_json(tmp_path / CONFIG_FILE)


def test_tensors_are_read_with_their_metadata_and_up_to_the_longest_key(tmp_path):
    file, tensors = tmp_path / WEIGHTS_FILE, {"x" * LONGEST_KEY: torch.arange(3.0)}
    save_file(tensors, file, {"format": "pt"})
    read, metadata = read_tensors(file)
    assert (list(read), metadata) == (list(tensors), {"format": "pt"})
    assert torch.equal(read["x" * LONGEST_KEY], torch.arange(3.0))
    save_file({}, file)
    assert read_tensors(file) == ({}, {})
    save_file({"x" * (LONGEST_KEY + 1): torch.zeros(1)}, file)
    with pytest.raises(ValueError, match="damaged: a key has more than 1,000 characters"):
        read_tensors(file)


def test_a_folder_whose_sub_folders_hold_the_adapters_lists_them(tmp_path):
    model = adapted("plain")
    model.add_adapter("b", rank=2)
    model.save_adapter(tmp_path, "b")
    with pytest.raises(FileNotFoundError, match="sub-folders do: b. Use one of them"):
        LoRAModel.from_pretrained(base(), tmp_path)


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_link_out_of_the_folder_is_refused_but_the_hugging_face_cache_is_read(folder, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / name).rename(elsewhere / name)
    (folder / name).symlink_to(elsewhere / name)
    with pytest.raises(ValueError, match="link to .*elsewhere.*outside the folder"):
        LoRAModel.from_pretrained(base(), folder)
    (folder / name).unlink()
    blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "0123"
    blobs.mkdir(parents=True)
    (elsewhere / name).rename(blobs / "a1b2")
    snapshot.parent.mkdir()
    folder.rename(snapshot)
    (snapshot / name).symlink_to("../../blobs/a1b2")
    LoRAModel.from_pretrained(base(), snapshot)


def test_loading_an_adapter_never_executes_code(folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "owned"),))

    torch.save({"weight": Evil()}, folder / "adapter_model.bin")
    shutil.copy(folder / "adapter_model.bin", folder / WEIGHTS_FILE)
    with pytest.raises(ValueError, match="damaged"):
        LoRAModel.from_pretrained(base(), folder)
    assert not (tmp_path / "owned").exists()


def test_no_pickle_is_opened(folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "owned"),))

    for name in ("adapter_model.bin", "training_args.bin", "optimizer.pt"):
        torch.save(Evil(), folder / name)
    assert len(lint(folder)) == 3
    xray(folder)
    LoRAModel.from_pretrained(base(), folder)
    assert not (tmp_path / "owned").exists()
