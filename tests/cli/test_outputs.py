"""Outputs are tried before the work begins, never lie over an input, and a training's result is never lost."""

import io
import json
import os
import subprocess
import sys

from lora_teach import LoRAModel, cli
from lora_teach.bases import load_name_gpt
from lora_teach.cli import common

import pytest

NAMES = ["--base", "names", "--device", "cpu"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.jsonl").write_text('{"prompt": "ai", "completion": "no"}\n')
    return tmp_path


def train(*more):
    return cli.main(["train", *NAMES, "--data", "data.jsonl", "--steps", "2", *map(str, more)])


def generate(*more):
    return cli.main(["generate", *NAMES, "--data", "data.jsonl", *map(str, more)])


@pytest.mark.parametrize("option", ["--out", "--checkpoint"])
@pytest.mark.parametrize("bad", ["file", "file/inner", "/proc/inner", "dangling"])
def test_what_can_not_be_written_is_found_before_anything_is_loaded(option, bad, place, monkeypatch, capsys):
    # https://github.com/mlfoundations/open_lm/issues/154: an epoch was trained first
    (place / "file").write_text("mine")
    (place / "dangling").symlink_to("nowhere")
    monkeypatch.setattr(common, "load_base", lambda *_: pytest.fail("the work began"))
    assert train(*(["--out", "new"] if option == "--checkpoint" else []), option, bad) == 2
    assert option in capsys.readouterr().err and (place / "file").read_text() == "mine"
    assert not (place / "new").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_permission_is_found_before_too(place, capsys):
    (place / "locked").mkdir(mode=0o500)
    assert train("--out", "locked/a") == 2 and "can't be written" in capsys.readouterr().err


def test_out_and_checkpoint_are_never_the_base_nor_each_other(place, capsys):
    (place / "base").mkdir()
    (place / "base" / "config.json").write_text("{}")
    assert cli.main(["train", "--base", "base", "--data", "data.jsonl", "--out", "base", "--overwrite"]) == 2
    assert "nothing else is written into it" in capsys.readouterr().err
    (place / "a").mkdir()
    for out, checkpoint in (("a", "a"), ("new", "new"), ("new", "./a/../new"), ("new/inner/..", "new")):
        assert train("--out", out, "--checkpoint", checkpoint) == 2, (out, checkpoint)
        assert "nothing else is written into it" in capsys.readouterr().err
    assert not (place / "new").exists()


def test_what_is_there_is_replaced_only_if_it_is_asked_for(place, capsys):
    # https://github.com/hiyouga/LlamaFactory/issues/4612
    assert train("--out", "a") == 0
    before = {file.name: file.read_bytes() for file in (place / "a").iterdir()}
    assert train("--out", "a", "--seed", "5") == 2 and "--overwrite" in capsys.readouterr().err
    assert before == {file.name: file.read_bytes() for file in (place / "a").iterdir()}
    assert train("--out", "a", "--seed", "5", "--overwrite") == 0
    assert before != {file.name: file.read_bytes() for file in (place / "a").iterdir()}
    (place / "a" / "adapter_config.json").chmod(0o444)
    assert train("--out", "a", "--overwrite") == 2 and "read-only" in capsys.readouterr().err

    assert generate("--out", "o.jsonl") == 0
    assert generate("--out", "o.jsonl") == 2 and "--overwrite" in capsys.readouterr().err
    assert generate("--out", "o.jsonl", "--overwrite") == 0


def test_an_input_is_never_written_over_under_whatever_name(place, capsys):
    before = (place / "data.jsonl").read_bytes()
    assert train("--out", "a") == 0
    (place / "soft").symlink_to("data.jsonl")
    (place / "hard").hardlink_to(place / "data.jsonl")
    (place / "deep").mkdir()
    for out in ("data.jsonl", "soft", "hard", "deep/../data.jsonl", place / "data.jsonl"):
        assert generate("--out", out, "--overwrite") == 2 and "which is read" in capsys.readouterr().err
    assert generate("--adapter", "a", "--out", "a/adapter_config.json", "--overwrite") == 2
    assert (place / "data.jsonl").read_bytes() == before and (place / "soft").is_symlink()
    LoRAModel.from_pretrained(load_name_gpt(), place / "a")


def test_a_link_stays_a_link(place):
    (place / "real").write_text("old")
    (place / "link").symlink_to("real")
    (place / "dangling").symlink_to("later")
    for link, real in (("link", "real"), ("dangling", "later")):
        assert generate("--out", link) == 2
        assert generate("--out", link, "--overwrite") == 0
        assert (place / link).is_symlink() and "completion" in json.loads((place / real).read_text())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("I/O error")])
def test_an_adapter_that_can_not_be_saved_is_saved_elsewhere(error, place, capsys, monkeypatch):
    # https://github.com/hiyouga/LlamaFactory/issues/5155, https://github.com/bghira/SimpleTuner/issues/2353
    save = LoRAModel.save_adapter

    def full(model, folder, *more):
        if str(folder) == "a":
            raise error
        save(model, folder, *more)

    monkeypatch.setattr(LoRAModel, "save_adapter", full)
    assert train("--out", "a") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    rescue = said.rpartition("The adapter is in ")[2]
    LoRAModel.from_pretrained(load_name_gpt(), rescue)


def test_an_interrupted_training_is_saved_and_has_not_status_0(place, capsys, monkeypatch):
    from lora_teach import training

    taken = []

    def interrupted(*arguments, update=training._update, **more):
        taken.append(1)
        if len(taken) == 2:
            raise KeyboardInterrupt
        return update(*arguments, **more)

    monkeypatch.setattr(training, "_update", interrupted)
    assert train("--out", "a") == 130
    assert "interrupted" in capsys.readouterr().err
    LoRAModel.from_pretrained(load_name_gpt(), place / "a")
    taken.append(1)
    taken.clear()
    taken.append(1)  # now before the first step
    assert train("--out", "b") == 130 and not (place / "b").exists()


def test_a_reader_that_has_enough_is_no_error(place):
    # https://docs.python.org/3/library/signal.html#note-on-sigpipe
    own = os.environ | {"PYTHONPATH": str(cli.FIRST.parents[1])}
    command = [sys.executable, "-m", "lora_teach", "generate", *NAMES, "a"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=own, text=True) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 1 and "Traceback" not in said and "Broken" not in said


@pytest.mark.parametrize("name", ["training_summary.json", "adapter_config.json", "checkpoint.pt"])
@pytest.mark.parametrize("option", ["--data", "--validation"])
def test_examples_under_the_name_of_an_output_are_not_written_over(name, option, place, capsys):
    (place / "mine").mkdir()
    (place / "mine" / name).write_text(text := '{"prompt": "a", "completion": "nn"}\n')
    where = ["--out", "new", "--checkpoint", "mine"] if name == "checkpoint.pt" else ["--out", "mine", "--overwrite"]
    assert train(*where, option, f"mine/{name}") == 2
    assert "which is read" in capsys.readouterr().err and (place / "mine" / name).read_text() == text


def test_answers_that_can_not_be_written_are_printed(place, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lora_teach.cli.answers.replace_file", full)
    assert generate("--out", "answers.jsonl") == 2
    said = capsys.readouterr()
    assert "completion" in json.loads(said.out.splitlines()[0]) and "No space left" in said.err


def test_the_places_of_all_runs_of_a_sweep_are_tried_before_the_first(place, capsys, monkeypatch):
    (place / "runs" / "rank2-alpha2-lr0.001").mkdir(parents=True)
    (place / "runs" / "rank2-alpha2-lr0.001" / "mine").write_text("mine")
    monkeypatch.setattr(common, "load_base", lambda *_: pytest.fail("the work began"))
    command = ["sweep", "--base", "names", "--device", "cpu", "--data", "data.jsonl", "--out", "runs", "--ranks", "1,2"]
    assert cli.main(command) == 2
    assert "rank2-alpha2-lr0.001 is there already" in capsys.readouterr().err


def test_rates_that_differ_little_are_runs_of_their_own(place, capsys):
    command = ["sweep", "--base", "names", "--device", "cpu", "--data", "data.jsonl", "--out", "runs", "--steps", "1"]
    assert cli.main([*command, "--rank", "1", "--lrs", "1e-3,0.0010000001"]) == 0
    assert len({json.loads(line)["out"] for line in capsys.readouterr().out.splitlines()}) == 2


@pytest.mark.parametrize("command", ["train", "sweep", "export"])
def test_a_place_that_the_output_can_not_spell_is_no_failure(command, place, monkeypatch):
    if command == "export":
        gguf = pytest.importorskip("lora_teach.peft_format.gguf")
        monkeypatch.setattr(gguf, "save_gguf", lambda *_: None)
        assert train("--out", "a") == 0
    options = {"train": ["--data", "data.jsonl", "--steps", "1", "--out"], "export": ["--adapter", "a", "--gguf"]}
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    device = [] if command == "export" else ["--device", "cpu"]
    assert cli.main([command, "--base", "names", *device, *options.get(command, options["train"]), "größe→"]) == 0
    out.seek(0)
    assert "gr\\" in out.read()
