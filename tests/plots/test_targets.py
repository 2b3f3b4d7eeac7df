import numpy as np
import pytest
from matplotlib.text import Text

from lora_teach.pictures.targets import drawing as plots

LAYERS = {
    f"blocks.{block}.{name}": size
    for block in range(3)
    for name, size in {
        "attention.q_proj": (96, 96),
        "attention.k_proj": (96, 96),
        "attention.v_proj": (96, 96),
        "attention.o_proj": (96, 96),
        "mlp.up_proj": (96, 384),
        "mlp.down_proj": (384, 96),
    }.items()
}
WEIGHTS = {"attention": 110_592, "MLP": 221_184}


def boxes(collection):
    """Left, top, width and height of each rectangle."""
    corners = [path.vertices[:4] for path in collection.get_paths()]
    return [(*c.min(axis=0), *(c.max(axis=0) - c.min(axis=0))) for c in corners]


def overlap(a, b):
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


@pytest.mark.parametrize("rank", [1, 8, 48])
def test_strips_have_the_area_of_the_adapters_numbers_and_touch_no_matrix(rank):
    plan = plots.draw(LAYERS, WEIGHTS)
    plan.update(LAYERS, rank, {"attention": 0, "MLP": 0}, "MLP")
    strips, matrices = boxes(plan.strips), list(plan.places.values())
    assert sum(width * height for *_, width, height in strips) == rank * sum(i + o for i, o in LAYERS.values())
    assert sum(width * height for *_, width, height in matrices) == sum(i * o for i, o in LAYERS.values())
    everything = strips + matrices
    assert not any(overlap(a, b) for place, a in enumerate(everything) for b in everything[:place])


def test_only_what_is_adapted_is_tinted_and_gets_strips():
    plan = plots.draw(LAYERS, WEIGHTS)
    plan.update(["blocks.1.attention.q_proj"], 8, {"attention": 1, "MLP": 2}, "attention")
    assert boxes(plan.tints) == [plan.places["blocks.1.attention.q_proj"]] and len(boxes(plan.strips)) == 2
    plan.update([], 8, {"attention": 1, "MLP": 2}, "attention")
    assert not boxes(plan.tints) and not boxes(plan.strips)


def test_everything_lies_within_the_axes():
    plan = plots.draw(LAYERS, WEIGHTS)
    axes = plan.tints.axes
    plan.update(LAYERS, 48, {"attention": 0, "MLP": 0}, "MLP")
    for left, top, width, height in boxes(plan.strips) + list(plan.places.values()):
        assert min(axes.get_xlim()) <= left and left + width <= max(axes.get_xlim())
        assert min(axes.get_ylim()) <= top and top + height <= max(axes.get_ylim())


def test_bars_texts_and_guess_follow():
    plan = plots.draw(LAYERS, WEIGHTS, guess=True)
    plan.update(LAYERS, 8, {"attention": 18_432, "MLP": 23_040}, "MLP", guess=36_864)
    assert [bar.get_width() for bar in plan.bars] == [18_432, 23_040]
    assert [text.get_text() for text in plan.texts] == ["18,432 train", "23,040 train"]
    assert plan.guess.get_xdata() == [36_864]
    assert plan.guess.get_ydata()[0] == pytest.approx(plan.bars[1].get_y() + plan.bars[1].get_height() / 2)
    assert plots.draw(LAYERS, WEIGHTS).guess is None


def test_side_by_side_has_one_panel_for_each_choice_and_rank():
    first = {name: size for name, size in LAYERS.items() if ".0." in name}
    made = plots.draw_choices(
        first,
        {"attention": [n for n in LAYERS if "att" in n], "MLP": [n for n in LAYERS if "mlp" in n]},
        WEIGHTS,
        {8: {"attention": 18_432, "MLP": 23_040}, 48: {"attention": 110_592, "MLP": 138_240}},
    )
    titles = [axes.get_title(loc="left") for axes in made.axes]
    assert titles[1] == "MLP, rank 8\n23,040 train, 221,184 frozen" and len(titles) == 4
    tints = [axes.collections[1] for axes in made.axes]
    assert [len(tint.get_paths()) for tint in tints] == [4, 2, 4, 2]
    assert np.all([len(axes.collections[2].get_paths()) for axes in made.axes] == [8, 4, 8, 4])


def test_titles_side_by_side_neither_touch_nor_leave_the_figure():
    first = {name: size for name, size in LAYERS.items() if ".0." in name}
    choices = ("q and v", "attention", "MLP", "all")
    made = plots.draw_choices(
        first, dict.fromkeys(choices, list(first)), dict.fromkeys(choices, 331_776),
        {48: dict.fromkeys(choices, 248_832)},
    )  # fmt: skip
    made.canvas.draw()
    titles = made.findobj(lambda artist: isinstance(artist, Text) and "rank 48" in artist.get_text())
    spans = sorted((box.x0, box.x1) for box in (title.get_window_extent() for title in titles))
    assert len(spans) == 4 and spans[-1][1] <= made.bbox.width
    assert all(right < left for (_, right), (left, _) in zip(spans, spans[1:], strict=False))
