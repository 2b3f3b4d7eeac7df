import io
import re
from pathlib import Path

import lora_teach
from lora_teach.bases import load_name_gpt
from lora_teach.pictures.counts import Counts
from lora_teach.pictures.targets import Targets
from lora_teach.pictures.waking_up import WakingUp
from lora_teach.plots import COLOURS, MARKERS, Picture, diamond, figure, legend, line, matrix, panels, show, styled
from lora_teach.plots.loss_curve import LossCurve, smoothed
from lora_teach.plots.picture import caption, frame_jpeg, kept_png
from lora_teach.plots.style import CYCLE, LINES, make_room

import matplotlib
import matplotlib.style
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image


def decoded(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def plain(text="x"):
    made = figure(3.0, 2.0)
    axes = panels(made)
    (curve,) = axes.plot([0, 1, 2], [0, 1, 4], **line("lora"))
    axes.set(xlabel=text, ylabel="y", ylim=(0, 5))
    return made, axes, curve


def luminance(colour):
    """Relative luminance as WCAG defines it."""
    channels = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def as_seen(colour, missing):
    """The colour as eyes without one kind of cone see it (Viénot, Brettel and Mollon 1999), linear RGB."""
    channels = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    cones = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    left = {
        "red": np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]]),
        "green": np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]]),
    }[missing]
    return np.linalg.inv(cones) @ left @ cones @ linear


def test_pictures_are_opaque_white_at_100_pixels_an_inch():
    made, _, _ = plain()
    pixels = Picture(made).whole()
    assert pixels.shape == (200, 300, 3) and (pixels[0] == 255).all() and (pixels[:, -1] == 255).all()


def test_equal_pictures_are_equal_bytes():
    first, second = show(plain()[0], "A curve."), show(plain()[0], "A curve.")
    assert first.png == second.png
    assert not {b"tEXt", b"tIME", b"pHYs", b"iTXt"} & {first.png[i : i + 4] for i in range(len(first.png) - 4)}


def test_a_kept_picture_has_nearly_the_same_colours_and_is_smaller():
    pixels = Picture(plain()[0]).pixels()
    whole = io.BytesIO()
    Image.fromarray(pixels).save(whole, "PNG")
    kept = kept_png(pixels)
    assert len(kept) < 0.6 * len(whole.getvalue())
    assert np.abs(decoded(kept).astype(int) - pixels).max() <= 16 and (decoded(kept)[0] == 255).all()


def test_a_kept_picture_keeps_large_grey_areas_grey_and_the_colours_of_few_pixels():
    wheel = matplotlib.colors.hsv_to_rgb(np.moveaxis(np.mgrid[0:1:200j, 0:1:200j, 1:1:1j].squeeze(-1), 0, -1))
    pixels = np.full((200, 600, 3), 235, np.uint8)
    pixels[:, :200] = (255 * wheel).astype(np.uint8)
    pixels[:, 200:300] = np.linspace(100, 254, 100).astype(np.uint8)[:, None]
    pixels[100, 500] = (213, 94, 0)
    kept = decoded(kept_png(pixels)).astype(int)
    assert (kept[:50, 300:] == 235).all()
    assert np.ptp(kept[:, 200:300], axis=-1).max() <= 2  # greys, without a tint
    assert np.abs(kept[100, 500] - pixels[100, 500]).max() <= 16


def test_a_frame_for_the_screen_can_hardly_be_told_from_the_picture():
    pixels = Picture(plain()[0]).pixels()
    difference = np.abs(decoded(frame_jpeg(pixels)).astype(int) - pixels)
    assert difference.mean() < 0.5 and difference.max() < 40
    assert decoded(frame_jpeg(pixels))[0].min() >= 250  # the margin stays white
    assert frame_jpeg(pixels) == frame_jpeg(pixels.copy())


def test_the_users_settings_neither_show_nor_change():
    expected = show(styled(plain)()[0], "A curve.").png
    with matplotlib.style.context("dark_background"), matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        made = styled(plain)()[0]
        assert dict(matplotlib.rcParams) == before
    assert show(made, "A curve.").png == expected


def test_no_pyplot_figure_is_made():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    show(plain()[0], "A curve.")
    assert plt.get_fignums() == before


def test_the_layout_is_solved_once():
    made, axes, _ = plain()
    picture = Picture(made)
    place = axes.get_position().bounds
    axes.set_ylabel("two\nlines\nof label")
    picture.whole()
    assert axes.get_position().bounds == place


def test_a_layout_is_solved_again_on_request():
    made, axes, _ = plain()
    picture = Picture(made)
    place = axes.get_position().bounds
    axes.set_ylabel("two\nlines\nof label")
    picture.background_changed(relayout=True)
    assert axes.get_position().x0 > place[0]
    assert axes.get_tightbbox(made.canvas.get_renderer()).x0 >= 0


def test_labels_lie_inside_the_picture():
    made, axes, _ = plain("a label")
    Picture(made)
    renderer = made.canvas.get_renderer()
    box = axes.get_tightbbox(renderer)
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= 300 and box.y1 <= 200


@pytest.mark.parametrize("missing", ["red", "green"])
def test_roles_stay_apart_for_colour_blind_eyes(missing):
    seen = {role: as_seen(COLOURS[role], missing) for role in ("base", *CYCLE)}
    for first in seen:
        for second in seen:
            if first < second:
                assert np.abs(seen[first] - seen[second]).max() > 0.05, (first, second)


def test_each_role_has_a_second_cue():
    for role in CYCLE:
        others = [other for other in ("base", *CYCLE) if other != role]
        assert all((MARKERS[role], LINES[role]) != (MARKERS[other], LINES[other]) for other in others)
        assert all(LINES[role] != LINES[other] for other in others)


def test_lines_and_text_stand_out_from_white():
    for role in ("base", "lora", "full", "best", "guess", "ink"):
        assert 1.05 / (luminance(COLOURS[role]) + 0.05) > 3.0, role


def test_a_role_s_line_takes_changes():
    assert line("lora", marker="", label="mine") == {
        "color": COLOURS["lora"], "linestyle": "-", "marker": "", "label": "mine",
    }  # fmt: skip
    with pytest.raises(KeyError):
        line("no such role")


def test_a_guess_is_a_hollow_diamond_and_no_guess_is_nothing():
    made, axes, _ = plain()
    assert diamond(axes, 1, None) is None and diamond(axes, None, 1) is None and len(axes.lines) == 1
    mark = diamond(axes, 1, 2)
    assert mark.get_marker() == "D" and mark.get_markerfacecolor() == "none" and mark.get_label() == "your guess"
    assert "your guess" in [text.get_text() for text in legend(axes).get_texts()]


def test_a_matrix_has_white_at_zero_and_a_fixed_range():
    axes = panels(figure(2.0, 2.0))
    image = matrix(axes, [[0.0, -2.0], [1.0, 4.0]])
    assert image.get_clim() == (-4.0, 4.0)
    assert min(image.cmap(image.norm(0.0))) > 0.95
    assert matrix(axes, [[1.0]], limit=3.0, cmap="gray").get_clim() == (0.0, 3.0)
    assert matrix(axes, [[0.0]]).get_clim() == (-1.0, 1.0)
    assert not axes.get_xticks().size and not axes.get_yticks().size


def test_panels_come_one_by_one_or_as_a_grid():
    assert isinstance(panels(figure()), matplotlib.axes.Axes)
    grid = panels(figure(), 2, 3, grid=False, sharex=True)
    assert grid.shape == (2, 3)


def test_moving_artists_are_drawn_over_the_cached_background():
    made, axes, curve = plain()
    title = axes.set_title("before")
    bars = axes.bar([0, 1], [1, 2])
    picture = Picture(made, [curve, [title], bars])
    assert set(picture.moving) == {curve, title, *bars}
    first = picture.pixels()
    curve.set_ydata([4, 1, 0])
    title.set_text("after")
    bars[0].set_height(5)
    quick = picture.pixels()
    assert not np.array_equal(first, quick)
    assert np.array_equal(quick, picture.whole())
    assert decoded(picture.frame()).shape == quick.shape


def test_a_panel_in_which_nothing_changed_is_not_drawn_again(monkeypatch):
    made = figure(3.0, 2.0)
    left, right = panels(made, columns=2)
    (one,), (other,) = left.plot([0, 1], [0, 1]), right.plot([0, 1], [1, 0])
    words = made.text(0.5, 0.5, "over both")
    picture = Picture(made, [one, other, words])
    drawn = []
    for artist in (one, other, words):
        plain = artist.draw
        monkeypatch.setattr(artist, "draw", lambda renderer, a=artist, plain=plain: (drawn.append(a), plain(renderer)))
    picture.pixels()
    assert drawn == [one, other, words]
    for height in (2, 3, 4):  # the first of these moves finds out what rests
        drawn.clear()
        one.set_ydata([0, height])
        quick = picture.pixels()
    assert drawn == [one]
    assert np.array_equal(quick, picture.whole())
    drawn.clear()
    other.set_ydata([5, 5])
    assert not np.array_equal(picture.pixels(), quick) and other in drawn
    words.set_text("over all")
    one.set_visible(False)
    assert np.array_equal(picture.pixels(), picture.whole())


def test_moving_artists_keep_their_order_of_depth():
    made, axes, curve = plain()
    patch = axes.axvspan(0, 2, color="black", zorder=5)
    over = Picture(made, [patch, curve]).pixels()
    curve.set(zorder=6, linewidth=8)
    assert (Picture(made, [patch, curve]).whole() != over).any()


def test_a_changed_background_is_drawn_only_when_it_is_announced():
    made, axes, curve = plain()
    picture = Picture(made, [curve])
    before = picture.pixels()
    axes.set_ylim(0, 50)
    cached = picture.pixels()
    picture.background_changed()
    assert not np.array_equal(cached, picture.pixels())
    assert np.array_equal(before[-30:], cached[-30:])


def test_what_cannot_move_is_refused():
    made, axes, curve = plain()
    for wrong in (axes.xaxis, axes.xaxis.get_major_ticks()[0]):
        with pytest.raises(TypeError, match="can't be a moving artist.*background_changed"):
            Picture(made, [curve, wrong])
    for wrong in ([3], "curve", [None]):
        with pytest.raises(TypeError, match="takes matplotlib artists"):
            Picture(made, wrong)


def test_a_still_has_its_sentence_under_it_and_as_plain_text():
    made, _, _ = plain()
    sentence = "The curve rises, and faster the further it goes, which takes more than one line to say here."
    still = show(made, sentence)
    pixels, bundle = decoded(still.png), still._repr_mimebundle_()
    assert set(bundle) == {"image/png", "text/plain"} and bundle["text/plain"] == sentence == repr(still)
    assert pixels.shape[1] == 300 and np.abs(pixels[:200].astype(int) - Picture(made).whole()).max() <= 16
    assert np.abs(pixels[200:].astype(int) - caption(sentence, 300)).max() <= 16


def test_a_long_sentence_is_wrapped_inside_the_picture():
    short, long = caption("One line.", 300), caption("word " * 30, 300)
    assert len(long) > 3 * len(short) - 40
    for foot in (short, long, caption("costs $5, or $6", 300), caption("one\ntwo", 300)):
        dark = (foot < 200).any(axis=2)
        assert dark.any() and not dark[:, :10].any() and not dark[:, -4:].any()
        assert not dark[-1].any()
    assert len(caption("one\ntwo", 300)) > len(short)


def test_show_refuses_what_it_cannot_show():
    made, _, _ = plain()
    with pytest.raises(TypeError, match="a Figure or a Picture, not a ndarray"):
        show(np.zeros((2, 2)), "Words.")
    with pytest.raises(TypeError, match="is a text, not a NoneType"):
        show(made, None)
    with pytest.raises(ValueError, match="is empty"):
        show(made, "  ")


def test_smoothing_is_the_mean_around_each_step():
    values = np.random.default_rng(0).normal(size=11)
    for window in (1, 2, 5, 40):
        expected = [values[max(0, i - window // 2) : i + (window + 1) // 2].mean() for i in range(11)]
        assert np.allclose(smoothed(values, window), expected)
    assert len(smoothed([], 3)) == 0


def test_the_loss_curve_grows_its_axis_to_what_it_must_show():
    curve = LossCurve(40, "A run", {"before": [5.0, 4.0]})
    assert curve.window == 2
    low, high = curve._axes.get_ylim()
    assert low < 4.5 and high > 5.0
    first = curve.picture.pixels()
    curve.update([4.6, 4.7])
    assert curve._axes.get_ylim() == (low, high)  # nothing to redraw
    curve.update([4.6, 4.7, 9.0, 1.0])
    assert curve._axes.get_ylim()[0] < 1.0 and curve._axes.get_ylim()[1] > 9.0
    quick = curve.picture.pixels()
    assert not np.array_equal(first, quick) and np.array_equal(quick, curve.picture.whole())


def test_a_loss_curve_of_nothing_yet_can_be_shown():
    curve = LossCurve(10, "A run")
    curve.update([])
    assert show(curve.picture, "Nothing yet.").png
    curve.update([2.0])
    assert isinstance(curve.picture.figure, Figure)


def test_a_guess_is_made_room_for_and_a_slip_of_the_keyboard_is_not():
    axes = panels(figure(4, 3))
    axes.set_ylim(1.8, 2.4)
    for guess, limits in ((2.2, (1.8, 2.4)), (2.8, (1.8, 2.85)), (1.5, (1.45, 2.85)), (220, (1.45, 2.85))):
        make_room(axes, [guess])
        assert axes.get_ylim() == pytest.approx(limits)


def test_a_is_orange_and_b_is_blue():
    hue = {name: matplotlib.colors.rgb_to_hsv(matplotlib.colors.to_rgb(COLOURS[name]))[0] for name in "AB"}
    assert 0.08 < hue["A"] < 0.14 and 0.54 < hue["B"] < 0.67


def test_pictures_that_have_both_factors_apart_paint_them_so():
    def painted(artists):
        return [matplotlib.colors.to_hex(artist.get_facecolor()).upper() for artist in artists]

    both = [COLOURS["A"], COLOURS["B"]]
    assert painted(Counts().strips) == both
    assert painted(WakingUp().gradients) == both
    strips = Targets(load_name_gpt()).strips
    assert [matplotlib.colors.to_hex(colour).upper() for colour in strips.get_facecolor()] == both


def test_no_picture_takes_another_colour_for_a_or_b():
    for path in sorted((Path(lora_teach.__file__).parent / "pictures").rglob("view.py")):
        for line_of in path.read_text(encoding="utf-8").splitlines():
            own = re.match(r"\s*(?:of_)?(A|B)\b.*COLOURS\[\"(\w+)\"\]", line_of)
            assert own is None or own[1] == own[2], f"{path.parent.name}: {line_of.strip()}"
