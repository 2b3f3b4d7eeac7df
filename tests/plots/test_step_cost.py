"""The picture of a step's cost: shares by rank, and each time beside its FLOPs."""

from lora_teach.pictures.step_cost import view as step_cost

SHARES = {"small": {1: 0.7, 8: 0.8, 64: 1.6}, "large": {1: 0.66, 8: 0.67}}
TIMES = [
    ("small, here", 0.8, {"all linear": (1.1, 1.1, 1.1)}),
    ("large on a GPU", 0.67, {"all linear": (0.7, 0.8, 2.9), "q v": (0.5, 0.6, 0.75)}),
]


def drawn(axes, label):
    """The points of the line with this label."""
    (found,) = [line for line in axes.lines if line.get_label() == label]
    return [tuple(map(float, point)) for point in zip(*found.get_data(), strict=True)]


def test_every_share_is_drawn_at_its_rank():
    left, _ = step_cost.draw(SHARES, TIMES).axes
    for model, by_rank in SHARES.items():
        assert drawn(left, model) == list(by_rank.items())
    assert {line.get_ydata()[0] for line in left.lines if len(set(line.get_ydata())) == 1} >= {1, 2 / 3}
    assert [label.get_text() for label in left.get_xticklabels()] == ["1", "8", "64"]
    assert left.get_ylim()[1] > 1.6


def test_each_time_stands_beside_its_flops_with_its_quartiles():
    _, right = step_cost.draw(SHARES, TIMES).axes
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
    _, right = step_cost.draw(SHARES, TIMES, guess=3.5).axes
    assert drawn(right, "your guess") == [(3.5, 0)] and right.get_xlim()[1] > 3.5
    _, right = step_cost.draw(SHARES, TIMES[:1]).axes
    assert not [line for line in right.lines if line.get_label() == "your guess"]
