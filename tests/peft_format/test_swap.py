"""Replacing an adapter is one act: killed anywhere, the folder gives the old pair or the new, and no litter stays."""

import os
from pathlib import Path

from lora_teach import LoRAModel
from lora_teach.peft_format import swap
from lora_teach.peft_format.lint import lint
from lora_teach.peft_format.xray import xray
from tests.peft_format.folders import CONFIG, WEIGHTS, adapted, base, by_peft, change_tensors
from tests.toy import filled, tokens

import pytest
import torch

OLD, NEW = {"rank": 2, "alpha": 2}, {"rank": 2, "alpha": 64}


class Killed(BaseException):
    """The process is no more: from here on nothing changes the disk."""


def model_of(options, seed):
    torch.manual_seed(seed)
    return filled(LoRAModel(base(), target_modules=["q_proj"], **options)).eval()


def output(folder):
    with torch.no_grad():
        return LoRAModel.from_pretrained(base(), folder).eval()(tokens())


def kill_at(count, monkeypatch):
    """Let the disk stand still from the ``count``-th change on; return how many there were."""
    done = []

    def counted(change):
        def act(*arguments, **options):
            done.append(1)
            if len(done) > count:
                raise Killed
            return change(*arguments, **options)

        return act

    monkeypatch.setattr(os, "replace", counted(os.replace))
    for name in ("unlink", "write_bytes"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    return done


@pytest.mark.parametrize("theirs", [False, True], ids=["over_ours", "over_peft_s"])
def test_killed_at_every_change_it_reads_as_the_old_or_the_new(theirs, tmp_path, monkeypatch):
    old, new = model_of(OLD, 1), model_of(NEW, 2)
    new.save_adapter(tmp_path / "new")
    expected, seen = output(tmp_path / "new"), set()
    for count in range(99):
        folder = tmp_path / str(count)
        if theirs:
            by_peft(folder, {"r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]})
            (folder / "README.md").unlink()
        else:
            old.save_adapter(folder)
        before = output(folder)
        with monkeypatch.context() as patched:
            done = kill_at(count, patched)
            try:
                new.save_adapter(folder)
            except Killed:
                pass
        found = output(folder)
        assert torch.equal(found, before) or torch.equal(found, expected), count
        seen.add(torch.equal(found, expected))
        assert torch.equal(output(folder), found) and xray(folder).layers
        new.save_adapter(folder)  # the next use clears up
        left = {file.name for file in folder.iterdir()}
        own = f"-{os.getpid()}-"  # what this living process was writing is taken to be in the making still
        assert {name for name in left if own not in name} == {CONFIG, WEIGHTS}
        assert torch.equal(output(folder), expected) and not lint(folder)
        if len(done) <= count:
            break
    assert seen == {False, True} and count > 4


def test_a_first_adapter_is_whole_or_not_there(tmp_path, monkeypatch):
    new = model_of(NEW, 2)
    new.save_adapter(tmp_path / "whole")
    for count in range(6):
        with monkeypatch.context() as patched:
            kill_at(count, patched)
            try:
                new.save_adapter(tmp_path / str(count), "default")
            except Killed:
                pass
        try:
            assert torch.equal(output(tmp_path / str(count)), output(tmp_path / "whole"))
        except FileNotFoundError:
            continue


def test_between_the_moves_peft_refuses_the_folder(tmp_path):
    peft = pytest.importorskip("peft")
    model_of(OLD, 1).save_adapter(tmp_path)
    os.replace(tmp_path / CONFIG, tmp_path / swap.OLD)
    with pytest.raises(ValueError, match="adapter_config.json"):
        peft.PeftModel.from_pretrained(base(), tmp_path)
    output(tmp_path)
    LoRAModel(base(), adapter_name="named", target_modules=["q_proj"]).save_adapter(tmp_path / "more", "named")
    inner = tmp_path / "more" / "named"
    os.replace(inner / CONFIG, inner / swap.OLD)
    LoRAModel.from_pretrained(base(), tmp_path / "more", "named")


def test_a_full_disk_leaves_the_old_pair_and_says_so(tmp_path, monkeypatch):
    # https://github.com/hiyouga/LlamaFactory/issues/5155
    from safetensors import SafetensorError

    model_of(OLD, 1).save_adapter(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("lora_teach.peft_format.save_load.save_file", full)
    with pytest.raises(OSError, match=r"adapter_model.safetensors can't be written: .*No space left"):
        model_of(NEW, 2).save_adapter(tmp_path)
    assert before == {file.name: file.read_bytes() for file in tmp_path.iterdir()}


def test_a_config_of_nobody_s_weights_is_not_taken(tmp_path):
    adapted("plain").save_adapter(tmp_path)
    (tmp_path / swap.NEW).write_bytes((tmp_path / CONFIG).read_bytes().replace(b'"r": 4', b'"r": 3'))
    LoRAModel.from_pretrained(base(), tmp_path)  # the config counts
    (tmp_path / CONFIG).unlink()
    for spoil in (lambda: None, lambda: change_tensors(tmp_path, lambda tensors: None), (tmp_path / WEIGHTS).unlink):
        spoil()
        with pytest.raises(FileNotFoundError):
            LoRAModel.from_pretrained(base(), tmp_path)
