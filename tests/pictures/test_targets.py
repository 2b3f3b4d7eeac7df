from lora_teach import LoRAModel
from lora_teach.bases import NameGPT
from lora_teach.bases.name_gpt import LAYER_GROUPS
from lora_teach.live import explore
from lora_teach.pictures.targets import Targets
from tests.live.sweep import sweep

import pytest
from matplotlib.text import Text


@pytest.fixture(scope="module")
def view():
    return Targets(NameGPT())


def test_sentence_counts_what_the_library_counts():
    for values, sentence in sweep(explore(Targets(NameGPT(), guess=2))):
        model = LoRAModel(NameGPT(), rank=values["rank"], target_modules=LAYER_GROUPS[values["targets"]])
        trainable, layers = model.count()[0], len(model.lora_layers)
        assert f"rank {values['rank']}: {trainable:,} numbers train, beside" in sentence
        weights = sum(model.get_submodule(name).weight.numel() for name in model.lora_layers)
        assert f"beside {weights:,} frozen weights in {layers} layers;" in sentence
        assert f"; {trainable / model.count()[1]:.1%} of all parameters." in sentence


@pytest.mark.parametrize("rank", [1, 8, 48])
def test_mlp_costs_a_quarter_more_than_attention_at_every_rank(view, rank):
    assert view.trainable(rank)["MLP"] == 1.25 * view.trainable(rank)["attention"]
    assert view.weights["MLP"] == 2 * view.weights["attention"]


def test_rank_48_of_attention_is_as_large_as_the_layers(view):
    assert view.trainable(48)["attention"] == view.weights["attention"]


def test_diamond_stands_at_the_guess_times_attention():
    explorer = explore(Targets(NameGPT(), guess=2))
    explorer.move(rank=10)
    assert explorer.view.mark.get_xdata() == [2 * explorer.view.trainable(10)["attention"]]


def test_static_figure_says_both_ratios(view):
    assert "2.00 times" in str(view.static_figure()) and "1.25 times" in str(view.static_figure())


@pytest.mark.parametrize("guess", [-1, 11, float("nan"), "2"])
def test_a_guess_that_is_no_factor_is_refused(guess):
    with pytest.raises((TypeError, ValueError), match="Give a factor from 0 to 10"):
        Targets(NameGPT(), guess)


def boxes(collection):
    """Left, top, width and height of each rectangle."""
    corners = [path.vertices[:4] for path in collection.get_paths()]
    return [(*c.min(axis=0), *(c.max(axis=0) - c.min(axis=0))) for c in corners]


def overlap(a, b):
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


@pytest.mark.parametrize("rank", [1, 8, 48])
def test_strips_have_the_area_of_the_adapters_numbers_and_touch_no_matrix(view, rank):
    view.move("all", rank)
    strips, matrices = boxes(view.strips), list(view.places.values())
    assert sum(width * height for *_, width, height in strips) == view.trainable(rank)["all"]
    assert sum(width * height for *_, width, height in matrices) == view.weights["all"]
    everything = strips + matrices
    assert not any(overlap(a, b) for place, a in enumerate(everything) for b in everything[:place])


def test_only_what_is_adapted_is_tinted_and_gets_strips(view):
    for choice, layers in view.adapted.items():
        view.move(choice, 8)
        assert boxes(view.tints) == [view.places[name] for name in layers]
        assert len(boxes(view.strips)) == 2 * len(layers)


def test_everything_lies_within_the_axes(view):
    view.move("all", 48)
    axes = view.tints.axes
    for left, top, width, height in boxes(view.strips) + list(view.places.values()):
        assert min(axes.get_xlim()) <= left and left + width <= max(axes.get_xlim())
        assert min(axes.get_ylim()) <= top and top + height <= max(axes.get_ylim())


def test_bars_texts_and_guess_follow(view):
    guessed = Targets(NameGPT(), guess=2)
    guessed.move("MLP", 8)
    row = list(LAYER_GROUPS).index("MLP")
    assert [bar.get_width() for bar in guessed.bars] == list(guessed.trainable(8).values())
    assert [text.get_text() for text in guessed.texts] == [f"{count:,} train" for count in view.trainable(8).values()]
    assert guessed.bars[row].get_width() == 23_040 and guessed.mark.get_xdata() == [36_864]
    assert guessed.mark.get_ydata()[0] == pytest.approx(guessed.bars[row].get_y() + guessed.bars[row].get_height() / 2)
    assert view.mark is None


def test_side_by_side_has_one_panel_for_each_choice_and_rank(view):
    made = view._draw_choices()
    titles = [axes.get_title(loc="left") for axes in made.axes]
    assert titles[2] == "MLP, rank 8\n23,040 train, 221,184 frozen" and len(titles) == 8
    assert [len(axes.collections[1].get_paths()) for axes in made.axes] == 2 * [2, 4, 2, 6]  # tints
    assert [len(axes.collections[2].get_paths()) for axes in made.axes] == 2 * [4, 8, 4, 12]  # strips


def test_titles_side_by_side_neither_touch_nor_leave_the_figure(view):
    made = view._draw_choices()
    made.canvas.draw()
    titles = made.findobj(lambda artist: isinstance(artist, Text) and "rank 48" in artist.get_text())
    spans = sorted((box.x0, box.x1) for box in (title.get_window_extent() for title in titles))
    assert len(spans) == 4 and spans[-1][1] <= made.bbox.width
    assert all(right < left for (_, right), (left, _) in zip(spans, spans[1:], strict=False))
