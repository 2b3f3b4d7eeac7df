"""Disks that fill up, folders that can't be written, two runs in one: the old adapter stays, and words say why."""

import errno
import os
import signal
import subprocess
from contextlib import nullcontext
from pathlib import Path

from lora_teach import LoRAModel, NonFiniteLoss, train
from tests.faults.at_work import CASES, make, until
from tests.faults.mounts import read_only
from tests.peft_format.test_swap import NEW, OLD, model_of, output
from tests.toy import bits, filled, mlp, pairs, same_bits

import pytest
import torch
from torch import nn

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there folders are closed in other ways")
mse = nn.functional.mse_loss


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    """A disk of 64 KB."""
    place = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
    if not mounted:
        pytest.skip("a disk of its own can't be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill_up(disk, room=0):
    """Leave no more than ``room`` bytes free."""
    with open(disk / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 1024)
        except OSError:
            pass
        file.truncate(max(0, file.tell() - room))


def test_on_a_disk_that_is_really_full_the_old_adapter_stays_at_every_amount_of_room(small_disk):
    folder = small_disk / "adapter"
    model_of(OLD, 1).save_adapter(folder)
    before, refused = output(folder), 0
    for room in range(0, 20_000, 2048):
        fill_up(small_disk, room)
        try:
            model_of(NEW, 2).save_adapter(folder)
        except OSError as error:
            refused += 1
            assert "No space left" in str(error)
            assert torch.equal(output(folder), before), f"{room} bytes of room"
        else:
            break
    assert refused > 2 and not torch.equal(output(folder), before)
    assert {file.name for file in folder.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}


def test_on_a_disk_that_is_really_full_a_training_ends_in_words_and_resumes_from_what_was_kept(small_disk, tmp_path):
    (small_disk / "filler").unlink(missing_ok=True)
    folder = small_disk / "run"

    model_steps, full_at = [], None

    def loss_fn(output, targets):
        model_steps.append(1)
        if len(model_steps) == full_at:
            fill_up(small_disk)
        return mse(output, targets)

    def run(place):
        torch.manual_seed(0)
        model_steps.clear()
        model = LoRAModel(nn.Sequential(nn.Linear(6, 64), nn.Linear(64, 4)), rank=4)
        train(model, pairs(), loss_fn, steps=9, checkpoint=place, checkpoint_every=3, progress=False)
        return bits(model)

    whole, full_at = run(tmp_path), 5
    with pytest.raises(OSError, match="checkpoint.pt can't be written: .*No space left.*Make room") as caught:
        run(folder)
    assert len(caught.value.history) == 5 and "error at step 6" in caught.value.history.stopped
    full_at = None
    (small_disk / "filler").unlink()
    assert len(torch.load(folder / "checkpoint.pt", weights_only=True)["steps"]) == 3
    assert same_bits(run(folder), whole)


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES], ids=os.strerror)
def test_a_write_that_fails_at_any_point_of_saving_leaves_the_old_adapter(fault, tmp_path, monkeypatch):
    model_of(OLD, 1).save_adapter(tmp_path)
    before, points = output(tmp_path), 0
    new = model_of(NEW, 2)
    new.save_adapter(tmp_path / "new")
    after = output(tmp_path / "new")
    for point in range(99):
        count = []

        def failing(call, count=count, point=point):
            def act(*arguments, **options):
                count.append(1)
                if len(count) == point + 1:
                    raise OSError(fault, os.strerror(fault))
                return call(*arguments, **options)

            return act

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", failing(os.replace))
            for name in ("write_bytes", "mkdir"):
                patched.setattr(Path, name, failing(getattr(Path, name)))
            try:
                new.save_adapter(tmp_path)
            except OSError as error:
                assert os.strerror(fault) in str(error)
                points += 1
        found = output(tmp_path)
        assert torch.equal(found, before) or torch.equal(found, after), point
        assert not list(tmp_path.glob(".adapter*-*-*"))
        if len(count) <= point:
            break
        model_of(OLD, 1).save_adapter(tmp_path)
    assert points >= 5


@pytest.mark.parametrize("way", ["a file for the folder", "a folder for the file", "a read-only folder"])
def test_where_an_adapter_can_not_be_written_the_error_names_the_place(way, tmp_path):
    model, place = filled(LoRAModel(mlp(), rank=2)), tmp_path / "adapter"
    if way.startswith("a file"):
        place.write_text("mine")
    else:
        model.save_adapter(place)
    if way.startswith("a folder"):
        (place / "adapter_model.safetensors").unlink()
        (place / "adapter_model.safetensors").mkdir()
    before = bits(model)
    with read_only(place) if way == "a read-only folder" else nullcontext(True) as possible:
        if not possible:
            pytest.skip("a read-only folder can't be had here")
        with pytest.raises(OSError, match="adapter"):
            model.save_adapter(place)
    assert same_bits(bits(model), before)
    assert way.startswith("a folder") or way.startswith("a read") or place.read_text() == "mine"
    model.save_adapter(tmp_path / "elsewhere")


def test_a_second_run_in_one_folder_is_refused_in_words_and_the_first_goes_on(tmp_path, workers):
    folder = tmp_path / "run"
    workers.begin("hold", folder=str(folder), until=str(tmp_path / "go"))
    until((folder / "checkpoint.pt").exists)
    model, batches, loss_fn, options = make(CASES[0])
    before = bits(model)
    with pytest.raises(OSError, match="another process is training with checkpoint=.*Use another folder, or wait"):
        train(model, batches, loss_fn, steps=3, checkpoint=folder, progress=False, **options)
    assert same_bits(bits(model), before)
    (tmp_path / "go").touch()
    assert workers.end() == 0
    assert len(torch.load(folder / "checkpoint.pt", weights_only=True)["steps"]) == 3


def test_a_run_that_was_left_half_way_gives_its_folder_to_the_next_of_the_same_process(tmp_path):
    from lora_teach import training_steps

    def steps():
        torch.manual_seed(0)
        model = LoRAModel(mlp(), rank=2)
        return training_steps(model, pairs(), mse, steps=4, checkpoint=tmp_path, checkpoint_every=1)

    left = steps()
    next(left)
    assert [step.index for step in steps()] == [1, 2, 3, 4]
    with pytest.raises(RuntimeError, match="a later run has taken over"):
        list(left)


@pytest.mark.parametrize("step", [1, 4, 9])
@pytest.mark.parametrize("fault", ["a nan", "an error"])
def test_a_run_that_breaks_at_any_step_leaves_the_step_before_and_resumes_where_it_was_kept(fault, step, tmp_path):
    def run(folder, broken=0):
        torch.manual_seed(0)
        model, calls = LoRAModel(mlp(), rank=2), []

        def loss_fn(output, targets):
            calls.append(1)
            if len(calls) == broken and fault == "an error":
                raise ZeroDivisionError("of the loss itself")
            return mse(output, targets) * (torch.nan if len(calls) == broken else 1)

        kind = NonFiniteLoss if fault == "a nan" else ZeroDivisionError
        options = {"lr": 1e-2, "steps": 9, "checkpoint": folder, "checkpoint_every": 2, "progress": False}
        if not broken:
            train(model, pairs(), loss_fn, **options)
        else:
            with pytest.raises(kind, match="nan at step|of the loss itself") as caught:
                train(model, pairs(), loss_fn, **options)
            assert len(caught.value.history) == broken - 1
            assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
        return model, len(calls)

    whole, _ = run(tmp_path / "whole")
    run(tmp_path / "run", broken=step)
    resumed, calls = run(tmp_path / "run")
    assert same_bits(bits(resumed), bits(whole)) and calls == 9 - (step - 1) // 2 * 2


def test_the_folder_of_a_killed_run_is_free(tmp_path, workers):
    process = workers.begin("hold", folder=str(tmp_path), until=str(tmp_path / "go"))
    until((tmp_path / "checkpoint.pt").exists)
    os.kill(process, signal.SIGKILL)
    workers.end()
    model, batches, loss_fn, options = make(CASES[0])
    options = {"checkpoint": tmp_path, "checkpoint_every": 1, "progress": False} | options
    assert len(train(model, batches, loss_fn, steps=3, **options)) == 3
