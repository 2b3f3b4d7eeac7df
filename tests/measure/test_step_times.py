"""Measured steps are read from one device's file or from several."""

import json

from lora_teach.pictures.step_cost import numbers as module
from lora_teach.pictures.step_cost.numbers import StepTime, step_times

import pytest


def made(device, time):
    """A file as tests/benchmarks/step_time.py writes it, cut to one batch."""
    own = {"over full": {"step": [time - 0.1, time, time + 0.1]}, "flops over full": {"step": 0.7}}
    own["milliseconds"] = {"step": [1.0, 10 * time, 99.0]}
    full = {"milliseconds": {"step": [1.0, 10.0, 99.0]}}
    return {"settings": {"device": device}, "results": {"tiny": {"4 × 8": {"full": full, "all linear r8": own}}}}


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "step_time.json"
    monkeypatch.setattr(module, "shipped_file", lambda name, command: path)
    return path


def test_one_devices_file_is_read(file):
    file.write_text(json.dumps(made("a GPU", 1.5)), encoding="utf-8")
    assert step_times() == [StepTime("a GPU", "tiny", "4 × 8", "all linear r8", 0.7, (1.4, 1.5, 1.6), (10.0, 15.0))]


@pytest.mark.parametrize("several", [lambda *runs: list(runs), lambda *runs: dict(zip("ab", runs, strict=True))])
def test_several_devices_are_read_in_their_order(file, several):
    file.write_text(json.dumps(several(made("CPU", 0.9), made("a GPU", 1.5))), encoding="utf-8")
    assert [(row.device, row.time[1]) for row in step_times()] == [("CPU", 0.9), ("a GPU", 1.5)]


def test_without_a_file_there_are_none(file):
    assert step_times() == []


def test_an_unknown_way_is_refused():
    with pytest.raises(ValueError, match="'MLP' was not measured. Use one of all linear r8, q v r8"):
        step_times("MLP")


def test_what_is_shipped_can_be_read():
    for row in step_times():
        assert 0.5 < row.flops < 1 and row.time[0] <= row.time[1] <= row.time[2]
        assert row.milliseconds[1] / row.milliseconds[0] == pytest.approx(row.time[1], rel=0.25)
