"""The cost of a step: measured steps are read from their files; shares by rank, and each time beside its FLOPs."""

import json

from lora_teach.pictures.step_cost import draw_step_cost, numbers, step_times
from lora_teach.pictures.step_cost.numbers import StepTime

import pytest

SHARES = {"small": {1: 0.7, 8: 0.8, 64: 1.6}, "large": {1: 0.66, 8: 0.67}}
TIMES = [
    ("small, here", 0.8, {"all linear": (1.1, 1.1, 1.1)}),
    ("large on a GPU", 0.67, {"all linear": (0.7, 0.8, 2.9), "q v": (0.5, 0.6, 0.75)}),
]


def made(device, time):
    """A file as tests/benchmarks/step_time.py writes it, cut to one batch."""
    own = {"over full": {"step": [time - 0.1, time, time + 0.1]}, "flops over full": {"step": 0.7}}
    own["milliseconds"] = {"step": [1.0, 10 * time, 99.0]}
    full = {"milliseconds": {"step": [1.0, 10.0, 99.0]}}
    return {"settings": {"device": device}, "results": {"tiny": {"4 × 8": {"full": full, "all linear r8": own}}}}


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "step_time.json"
    monkeypatch.setattr(numbers, "shipped_file", lambda name, command: path)
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


def drawn(axes, label):
    """The points of the line with this label."""
    (found,) = [line for line in axes.lines if line.get_label() == label]
    return [tuple(map(float, point)) for point in zip(*found.get_data(), strict=True)]


def test_every_share_is_drawn_at_its_rank():
    left, _ = draw_step_cost(SHARES, TIMES).axes
    for model, by_rank in SHARES.items():
        assert drawn(left, model) == list(by_rank.items())
    assert {line.get_ydata()[0] for line in left.lines if len(set(line.get_ydata())) == 1} >= {1, 2 / 3}
    assert [label.get_text() for label in left.get_xticklabels()] == ["1", "8", "64"]
    assert left.get_ylim()[1] > 1.6


def test_each_time_stands_beside_its_flops_with_its_quartiles():
    _, right = draw_step_cost(SHARES, TIMES).axes
    assert drawn(right, "FLOPs, predicted") == [(0.8, 0), (0.67, 1)]
    every, narrow = right.containers
    assert [list(bars.lines[0].get_xdata()) for bars in (every, narrow)] == [[1.1, 0.8], [0.6]]
    assert every.lines[0].get_marker() != narrow.lines[0].get_marker()
    ends = [
        [segment[:, 0].round(6).tolist() for segment in bars.lines[2][0].get_segments()] for bars in (every, narrow)
    ]
    assert ends == [[[1.1, 1.1], [0.7, 2.9]], [[0.5, 0.75]]]
    assert [round(y) for y in narrow.lines[0].get_ydata()] == [1]
    assert [label.get_text() for label in right.get_yticklabels()] == ["small, here", "large on a GPU"]
    assert right.get_xlim()[1] > 2.9 and right.get_ylim()[0] > right.get_ylim()[1]  # the first on top


def test_the_guess_stands_in_the_first_row():
    _, right = draw_step_cost(SHARES, TIMES, guess=3.5).axes
    assert drawn(right, "your guess") == [(3.5, 0)] and right.get_xlim()[1] > 3.5
    _, right = draw_step_cost(SHARES, TIMES[:1]).axes
    assert not [line for line in right.lines if line.get_label() == "your guess"]


@pytest.mark.parametrize(("guess", "error"), [("0.6", TypeError), (float("nan"), ValueError)])
def test_another_guess_is_refused_with_a_cure(guess, error):
    with pytest.raises(error, match="Give a share from 0 to 100, or None"):
        draw_step_cost(SHARES, TIMES, guess)
