import asyncio
import base64
import html
import io

from lora_teach.live import Explorer, View, explore
from lora_teach.plots import figure, panels, show
from tests.live.sweep import assert_whole, sweep
from tests.live.toy import Toy

import ipywidgets
import numpy as np
import pytest
from PIL import Image
from traitlets import TraitError


def decoded(picture):
    return np.asarray(Image.open(io.BytesIO(bytes(picture))).convert("RGB"))


def painted(explorer):
    """What the page shows now: the bytes of the image widget."""
    (image,) = [child for child in explorer.children if isinstance(child, ipywidgets.Image)]
    return image.value


def words(explorer):
    """The texts under the picture, as the page has them."""
    return [html.unescape(child.value) for child in explorer.children if isinstance(child, ipywidgets.HTML)]


def test_a_blitted_picture_equals_one_drawn_whole_from_nothing():
    explorer = explore(Toy())
    for values in ({"speed": 7}, {"height": 2.5}, {"colour": "orange", "speed": 1}):
        explorer.move(**values)
        fresh = Toy()
        fresh.move(**explorer.values)
        assert painted(explorer) == fresh.picture.frame()


def test_changed_limits_need_and_get_a_whole_redraw():
    explorer = explore(Toy())
    axes = explorer.view.wave.axes
    axes.set_ylim(-30, 30)
    with pytest.raises(AssertionError, match="background_changed"):
        assert_whole(explorer)
    before = painted(explorer)
    axes.set_ylim(-10, 10)
    explorer.view.picture.background_changed()
    explorer.move(speed=5)
    assert_whole(explorer)
    assert not np.array_equal(before, painted(explorer))  # the tick labels are others


def test_the_view_is_called_once_unguarded_before_it_is_wired():
    view = Toy()
    explore(view, speed=(1, 20, 3))
    assert view.calls == [3]
    with pytest.raises(ValueError, match="bad luck"):
        explore(Toy(), speed=(1, 20, 13))


def test_moving_a_slider_moves_picture_and_sentence():
    explorer = explore(Toy())
    before = painted(explorer)
    explorer.controls["speed"].value = 9
    assert explorer.sentence == "At speed 9 the height is 1.00."
    assert explorer.sentence in words(explorer)[0]
    assert not np.array_equal(before, painted(explorer))


def test_without_a_loop_every_move_is_drawn_at_once():
    explorer = explore(Toy())
    for speed in range(4, 12):
        explorer.controls["speed"].value = speed
    assert explorer.view.calls == [3, *range(4, 12)]


def test_piled_up_moves_are_merged_and_the_last_one_is_drawn(monkeypatch):
    monkeypatch.setattr(Explorer, "queued", 0.2)  # a busy machine may pause between two moves

    async def burst(explorer):
        explorer.move(speed=1)
        for step in range(100):
            explorer.controls["speed"].value = 1 + step % 12
            explorer.controls["height"].value = (step % 13) / 4
        while explorer._pending is not None:
            await asyncio.sleep(0.001)

    explorer = explore(Toy())
    asyncio.run(burst(explorer))
    assert len(explorer.view.calls) < 20  # of 200
    fresh = Toy()
    assert fresh.move(**explorer.values) == explorer._sentence == "At speed 4 the height is 2.00."
    assert painted(explorer) == fresh.picture.frame()


def test_asking_for_the_sentence_or_the_picture_does_not_wait_for_a_merged_move(monkeypatch):
    monkeypatch.setattr(Explorer, "queued", 60.0)

    async def ask(explorer):
        explorer.move(speed=1)
        explorer.controls["speed"].value = 2
        explorer.controls["speed"].value = 6
        return explorer.sentence

    explorer = explore(Toy())
    assert asyncio.run(ask(explorer)).startswith("At speed 6")


def test_an_exception_is_shown_and_the_next_good_move_clears_it():
    explorer = explore(Toy())
    before = painted(explorer)
    explorer.controls["speed"].value = 13  # as the page does it: nobody there to catch anything
    sentence, trouble = words(explorer)
    assert isinstance(explorer.error, ValueError)
    assert "ValueError: speed=13 brings bad luck: use <12> or less." in trouble
    assert "speed = 13" in trouble and "toy.py" in trouble and sentence == ""
    assert np.array_equal(before, painted(explorer))
    explorer.controls["speed"].value = 12
    assert explorer.error is None and words(explorer)[1] == ""
    assert "At speed 12" in words(explorer)[0]


def test_an_exception_while_drawing_is_shown_too():
    explorer = explore(Toy())
    explorer.controls["speed"].value = 14
    assert explorer.error is not None and "shape" in words(explorer)[1]
    explorer.controls["speed"].value = 2
    assert explorer.error is None
    assert_whole(explorer)


def test_what_is_shown_of_an_exception_is_escaped():
    explorer = explore(Toy())
    explorer.controls["speed"].value = 13
    (raw,) = [child.value for child in explorer.children if isinstance(child, ipywidgets.HTML) and child.value]
    assert "<12>" not in raw and "&lt;12&gt;" in raw


def test_move_raises_what_the_view_raises():
    with pytest.raises(ValueError, match="bad luck"):
        explore(Toy()).move(speed=13)


def test_move_refuses_what_a_slider_cannot_take_and_leaves_it():
    explorer = explore(Toy())
    with pytest.raises(KeyError, match="no slider 'rank': this view has speed, height, colour"):
        explorer.move(rank=3)
    for wrong in ({"speed": 5, "height": 9.0}, {"speed": 99}, {"colour": "red"}):
        with pytest.raises((ValueError, TraitError)):
            explorer.move(**wrong)
        assert explorer.values == {"speed": 3, "height": 1.0, "colour": "blue"}
    assert explorer.sentence == "At speed 3 the height is 1.00."


def test_a_view_may_move_another_slider():
    class Coupled(Toy):
        def move(self, speed, height, colour):
            self.explorer.controls["height"].value = min(height, speed / 10)
            return super().move(speed, height, colour)

    view = Coupled()
    view.explorer = type("Stub", (), {"controls": {"height": ipywidgets.FloatSlider()}})
    explorer = view.explorer = explore(view, speed=(1, 20, 20), height=(0.0, 3.0, 2.0))
    explorer.controls["speed"].value = 5
    assert explorer.sentence == "At speed 5 the height is 0.50."


def test_limits_are_minimum_start_and_maximum():
    explorer = explore(Toy())
    expected = {"speed": (1, 3, 20), "height": (0.0, 1.0, 3.0), "colour": ("blue", "orange")}
    assert explorer.limits() == expected
    explorer.move(speed=9)
    assert explorer.limits() == expected


def test_the_saved_notebook_keeps_picture_and_sentence_beside_the_widget():
    explorer = explore(Toy())
    explorer.move(speed=8)
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"}
    assert bundle["text/plain"] == "At speed 8 the height is 1.00."
    kept, seen = decoded(base64.b64decode(bundle["image/png"])), explorer.picture.pixels()
    assert (
        np.abs(kept[: len(seen)].astype(int) - seen).max() <= 24
    )  # 256 colours in the file; which ones is Pillow's choice
    assert (kept[len(seen) :] < 128).any()  # the sentence, in dark letters under the picture
    again = explore(Toy())
    again.move(speed=8)
    assert again._repr_mimebundle_()["image/png"] == bundle["image/png"]


def test_a_static_figure_is_what_the_saved_notebook_keeps():
    small = figure(3.0, 2.0)
    panels(small).plot([1, 2], [3, 4])
    explorer = explore(Toy(), static_figure=small, speed=(1, 20, 3))
    assert explorer._repr_mimebundle_()["text/plain"] == explorer.sentence
    assert decoded(base64.b64decode(explorer._repr_mimebundle_()["image/png"])).shape[1] == 300
    still = show(small, "Four of them, side by side.")
    bundle = explore(Toy(), static_figure=still, speed=(1, 20, 3))._repr_mimebundle_()
    assert bundle["text/plain"] == "Four of them, side by side."
    assert bundle["image/png"] == still._repr_mimebundle_()["image/png"]


def test_the_box_keeps_clear_of_what_breaks_images():
    explorer = explore(Toy())
    (image,) = [child for child in explorer.children if isinstance(child, ipywidgets.Image)]
    assert image.tooltip is None  # a tooltip crashes its view
    assert explorer.layout.align_items == "flex-start"  # else the image is stretched


@pytest.mark.parametrize(
    ("spec", "kind", "value"),
    [
        ((1, 96, 8), ipywidgets.IntSlider, 8),
        ((0, 90, 30, 15), ipywidgets.IntSlider, 30),
        ((0.0, 3.0, 1.0, 0.05), ipywidgets.FloatSlider, 1.0),
        ((0, 3, 1.5), ipywidgets.FloatSlider, 1.5),
        ([1, 4, 16], ipywidgets.SelectionSlider, 1),
        (([0.001, 0.01], 0.01), ipywidgets.SelectionSlider, 0.01),
        (["Finnish", "Zulu"], ipywidgets.ToggleButtons, "Finnish"),
        ((["Finnish", "Zulu"], "Zulu"), ipywidgets.ToggleButtons, "Zulu"),
        ([f"layer {i}" for i in range(9)], ipywidgets.ToggleButtons, "layer 0"),
        (True, ipywidgets.Checkbox, True),
    ],
)
def test_a_slider_is_made_of(spec, kind, value):
    class Echo(Toy):
        sliders, labels = {"it": spec}, {"it": "this thing"}

        def move(self, it):
            return repr(it)

    explorer = explore(Echo())
    widget = explorer.controls["it"]
    assert type(widget) is kind and widget.value == value and widget.description == "this thing"
    assert explorer.sentence == repr(value)
    assert [sentence for _, sentence in sweep(explorer)] == [
        repr(place) for place in dict.fromkeys(explorer.limits()["it"])
    ]


def test_readouts_show_the_digits_of_the_step():
    view = Toy()
    for step, expected in ((0.05, ".2f"), (0.25, ".2f"), (0.5, ".1f"), (0.001, ".3f")):
        assert explore(view, speed=(0.0, 3.0, 1.0, step)).controls["speed"].readout_format == expected


def test_a_ready_widget_is_taken_as_it_is():
    number = ipywidgets.BoundedIntText(value=4, min=1, max=9)
    menu = ipywidgets.Dropdown(options=["blue", "red"])
    height = ipywidgets.FloatSlider(value=1.0, max=2.0)
    explorer = explore(Toy(), speed=number, height=height, colour=menu)
    assert explorer.controls == {"speed": number, "height": height, "colour": menu}
    assert explorer.limits() == {"speed": (1, 4, 9), "height": (0.0, 1.0, 2.0), "colour": ("blue", "red")}
    assert [values for values, _ in sweep(explorer)][-1] == {"speed": 9, "height": 2.0, "colour": "red"}


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ((5, 1, 3), ValueError, "rank: the range 5 to 1 is empty"),
        ((1, 5, 9), ValueError, "rank: the start value 9 lies outside 1 to 5"),
        ((1, 5, 3, 0), ValueError, "rank: the step 0 must be above 0 and at most 4"),
        (([1, 2], 3), ValueError, "rank: the start value 3 is not among"),
        ([1, "two"], TypeError, "rank: a list is all numbers or all texts"),
        ((1, 5), TypeError, "is no control: give"),
        ((1, float("nan"), 2), TypeError, "is no control: give"),
        ([], TypeError, "is no control: give"),
        ("4", TypeError, "is no control: give"),
        (ipywidgets.VBox(), TypeError, "a VBox has no value"),
    ],
)
def test_a_slider_that_cannot_be_made_is_refused(spec, error, message):
    class Ranked(Toy):
        sliders = {"rank": spec}

    with pytest.raises(error, match=message):
        explore(Ranked())


def test_what_is_no_view_is_refused():
    with pytest.raises(TypeError, match="takes a View with a picture"):
        explore(lambda x: "words", x=(1, 3, 2))
    with pytest.raises(KeyError, match="a slider for 'x', but the view's sliders are speed, height, colour"):
        explore(Toy(), x=(1, 3, 2))

    class Still(Toy):
        sliders = {}

    with pytest.raises(TypeError, match="at least one slider"):
        explore(Still())

    class Misnamed(Toy):
        labels = {"x": "y"}

    with pytest.raises(KeyError, match="a label for 'x', but the view's sliders are speed"):
        explore(Misnamed())

    class Silent(Toy):
        def move(self, **values):
            pass

    with pytest.raises(TypeError, match="Silent returned None: a view returns the sentence"):
        explore(Silent())

    class Bare(View):
        pass

    with pytest.raises(NotImplementedError, match="Bare lacks move"):
        Bare().move(speed=1)


def test_the_sweep_visits_every_end_and_returns_to_the_start():
    explorer = explore(Toy())
    explorer.controls["speed"].max = 12  # the toy breaks above that, on purpose
    explorer._limits["speed"] = (1, 3, 12)
    visited = [values for values, _ in sweep(explorer)]
    assert len(visited) == 3 * 3 * 2
    assert {values["speed"] for values in visited} == {1, 3, 12}
    assert explorer.values == {"speed": 3, "height": 1.0, "colour": "blue"}
