"""The command line in two processes: one training by both, or trainings divided between them; and captured steps."""

import json
import os
import subprocess
import sys
from pathlib import Path

from lora_teach import cli
from lora_teach.cli import common

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch.distributed is not built in")
ROOT = Path(__file__).resolve().parents[2]
FINNISH = ["aino", "eero", "kari", "jari", "mika", "outi", "pekka", "reino", "sirpa", "taimi", "urho", "veikko"]
COMMON = ["--base", "names", "--device", "cpu", "--data", "data.jsonl", "--steps", "12", "--batch-size", "5"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"completion": name}) + "\n" for name in FINNISH]
    (tmp_path / "data.jsonl").write_text("".join(lines), encoding="utf-8")
    return tmp_path


def torchrun(*arguments):
    """Run a command of ours in two processes."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "lora_teach",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=300)


def summary(folder):
    return json.loads((folder / "training_summary.json").read_text(encoding="utf-8"))


def test_two_processes_in_shards_save_the_adapter_of_one(place):
    options = [*COMMON, "--validation", "0.2", "--accumulate", "2", "--checkpoint"]
    assert cli.main(["train", *options, "kept-one", "--out", "one"]) == 0
    ended = torchrun("train", *options, "kept-two", "--out", "two", "--shard")
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout == "two\n" and ended.stderr.count("parameters train") == 1
    one, two = (load_file(place / name / "adapter_model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[key], two[key], atol=1e-5) for key in one)
    first, second = summary(place / "one"), summary(place / "two")
    assert second["loss"] == pytest.approx(first["loss"], rel=1e-5)
    assert second["validation"]["kept_step"] == first["validation"]["kept_step"]
    kept = torch.load(place / "kept-two" / "checkpoint.pt", weights_only=True)
    assert len(kept["steps"]) == 12 and kept["belongs_to"]["processes"] == "2, sharded"


def test_a_sweep_is_divided_and_tells_one_line_a_run(place):
    ended = torchrun("sweep", *COMMON, "--validation", "0.2", "--ranks", "1,4", "--lrs", "1e-3,1e9", "--out", "runs")
    assert ended.returncode == 0, ended.stderr[-2000:]
    told = {(line["rank"], line["lr"]): line for line in map(json.loads, ended.stdout.splitlines())}
    assert sorted(told) == [(1, 1e-3), (1, 1e9), (4, 1e-3), (4, 1e9)]
    assert {told[1, 1e-3]["process"], told[1, 1e9]["process"]} == {0, 1}
    for rank in (1, 4):
        assert told[rank, 1e-3]["steps"] == 12 and "not finite" in told[rank, 1e9]["error"]
    assert cli.main(["train", *COMMON, "--validation", "0.2", "--rank", "4", "--out", "four"]) == 0
    ours, swept = (load_file(place / name / "adapter_model.safetensors") for name in ("four", told[4, 1e-3]["out"]))
    assert all(torch.equal(ours[key], swept[key]) for key in ours)
    assert told[4, 1e-3]["validation"] == min(loss for _, loss in summary(place / "four")["validation"]["loss"])
    assert sorted(one.name for one in (place / "runs").iterdir()) == ["rank1-alpha1-lr0.001", "rank4-alpha4-lr0.001"]


def test_a_sweep_of_one_process_makes_every_run(place, capsys):
    assert (
        cli.main(["sweep", *COMMON, "--steps", "2", "--alphas", "4,16", "--out", "runs", "--checkpoint", "kept"]) == 0
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["rank"], line["alpha"], line["lr"], line["process"]) for line in lines] == [
        (8, 4.0, 1e-3, 0),
        (8, 16.0, 1e-3, 0),
    ]
    assert (place / "kept" / "rank8-alpha16-lr0.001" / "checkpoint.pt").is_file()


@pytest.mark.parametrize("option", ["--ranks", "--lrs"])
@pytest.mark.parametrize("value", ["0,1", "one", "", "1,-2"])
def test_a_list_that_cant_be_is_bad_input(place, option, value, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["sweep", *COMMON, option, value, "--out", "runs"])
    assert ended.value.code == 2 and option in capsys.readouterr().err


def test_shards_in_one_process_are_bad_input(place, capsys):
    assert cli.main(["train", *COMMON, "--shard", "--out", "one"]) == 2
    assert "Use torchrun --nproc-per-node 2" in capsys.readouterr().err


def test_an_error_is_told_by_the_process_that_has_it_and_once_where_all_have_it(monkeypatch, capsys):
    monkeypatch.setattr(common, "place", lambda: (1, 2))
    common.say_error("train", ValueError("the disk is full"))
    assert capsys.readouterr().err == "process 1: lora_teach train: the disk is full\n"
    common.say_error("train", RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]:8410."))
    assert capsys.readouterr().err == "process 1: lora_teach train: another process has ended, so this one does\n"
    told = ValueError("the disk is full")
    told.of_process_0 = True
    common.say_error("train", told)
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_capture_without_a_gpu_goes_on_and_says_so(place):
    with pytest.warns(UserWarning, match="capture=True: the steps run one kernel at a time, since the model is on cpu"):
        assert cli.main(["train", *COMMON, "--capture", "--out", "one"]) == 0
