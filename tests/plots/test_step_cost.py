"""The picture of a step's cost: the shares, the two thirds and the times that are given."""

from lora_teach.plots import step_cost

SHARES = {"small": {1: 0.7, 8: 0.8, 64: 1.6}, "large": {1: 0.66, 8: 0.67}}


def drawn(axes, label):
    """The points of the line with this label."""
    (found,) = [line for line in axes.lines if line.get_label() == label]
    return [tuple(map(float, point)) for point in zip(*found.get_data(), strict=True)]


def test_every_share_is_drawn_at_its_rank():
    (axes,) = step_cost.draw(SHARES).axes
    for model, by_rank in SHARES.items():
        assert drawn(axes, f"FLOPs, {model}") == list(by_rank.items())
    assert {line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1} >= {1, 2 / 3}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "8", "64"]


def test_times_and_the_guess_are_drawn_and_fit():
    measured = [("NameGPT here", 8, 1.1), ("a GPU", 8, 2.9)]
    (axes,) = step_cost.draw(SHARES, measured, guess=(8, 0.4)).axes
    assert [drawn(axes, f"time, {label}") for label, *_ in measured] == [[(8, 1.1)], [(8, 2.9)]]
    assert drawn(axes, "your guess") == [(8, 0.4)]
    assert axes.get_ylim()[1] > 2.9
    marks = {line.get_marker() for line in axes.lines if line.get_label().startswith("time")}
    assert len(marks) == 2


def test_more_times_than_markers_are_all_drawn():
    (axes,) = step_cost.draw(SHARES, [(str(one), 8, 1.0) for one in range(9)]).axes
    assert sum(line.get_label().startswith("time") for line in axes.lines) == 9
