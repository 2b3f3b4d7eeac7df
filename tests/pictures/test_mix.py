"""Mix: what a mixture knows of both languages, and that areas, names and dots are what was measured."""

import math

from lora_teach.bases import evaluate, gumbel_noise, load_language_adapter, load_name_gpt, name_loss, sample_names
from lora_teach.datasets import names
from lora_teach.live import explore
from lora_teach.measure.writing import Writer
from lora_teach.pictures.mix import Mix
from lora_teach.pictures.mix.numbers import averaged_factors, averaged_probabilities, mixture_losses, share_of_gain
from lora_teach.pictures.mix.view import COLUMNS, SEED, SHOWN, TILES
from lora_teach.plots import COLOURS

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

HALVES = {"Finnish": 0.5, "Zulu": 0.5}


@pytest.fixture
def model():
    return load_language_adapter(load_language_adapter(load_name_gpt(), "Finnish"), "Zulu")


@pytest.fixture(scope="module")
def few():
    return [names.load(language).test[:20] for language in ("Finnish", "Zulu")]


@pytest.fixture(scope="module")
def explorer():
    return explore(Mix((2.6, 2.7)))


@pytest.fixture(scope="module")
def plain():
    return Mix()


def test_losses_of_mixtures_are_those_of_the_model_set_to_them(model, few):
    mixtures = [None, "Zulu", HALVES]
    losses = mixture_losses(model, mixtures, few)
    for mixture, found in zip(mixtures, losses, strict=True):
        model.set_adapter(mixture)
        assert found == pytest.approx([evaluate(model, one) for one in few])


def test_what_was_active_is_active_again_even_after_an_error(model, few):
    model.set_adapter({"Zulu": 0.3})
    mixture_losses(model, ["Finnish"], few)
    assert model.active_adapters == {"Zulu": 0.3}
    with pytest.raises(KeyError):
        mixture_losses(model, ["Finnish", "nobody"], few)
    assert model.active_adapters == {"Zulu": 0.3}
    averaged_probabilities(model, ["Finnish", "Zulu"], few[0])
    assert model.active_adapters == {"Zulu": 0.3}


def test_share_of_gain_is_0_at_the_base_and_1_at_the_adapter():
    assert (share_of_gain(3.0, 3.0, 2.0), share_of_gain(2.0, 3.0, 2.0), share_of_gain(2.25, 3.0, 2.0)) == (0, 1, 0.75)
    assert share_of_gain(3.5, 3.0, 2.0) == -0.5


def test_averaged_factors_hold_the_cross_terms_and_leave_the_model_alone(model):
    before = [parameter.clone() for parameter in model.parameters()]
    mean, path = averaged_factors(model, ["Finnish", "Zulu"]), "blocks.1.mlp.up_proj"
    (A1, B1), (A2, B2) = ((one.lora_A, one.lora_B) for one in (model.adapters[name][path] for name in HALVES))
    quarter = (A1 @ B1 + A1 @ B2 + A2 @ B1 + A2 @ B2) / 4
    layer = mean.lora_layers[path]
    assert torch.allclose(layer.lora_A @ layer.lora_B, quarter, atol=1e-4) and layer.rank == 4
    assert all(map(torch.equal, model.parameters(), before))
    assert mean.base_model is not model.base_model


def test_averaging_an_adapter_with_itself_is_that_adapter(model, few):
    model.set_adapter("Finnish")
    mean = averaged_factors(model, ["Finnish", "Finnish"])
    assert evaluate(mean, few[0]) == pytest.approx(evaluate(model, few[0]), abs=1e-6)


def test_averaged_probabilities_of_one_adapter_are_its_own(model, few):
    model.set_adapter("Zulu")
    alone = evaluate(model, few[0])
    model.set_adapter(None)
    assert averaged_probabilities(model, ["Zulu"], few[0]) == pytest.approx(alone, abs=1e-5)


def test_probabilities_are_averaged_and_not_their_logarithms(model):
    inputs, targets = names.encode(["aino"])
    logits = []
    for name in HALVES:
        model.set_adapter(name)
        logits.append(model(inputs))
    mean = sum(one.softmax(-1) for one in logits) / 2
    expected = -mean[0, torch.arange(5), targets[0]].log().mean().item()
    found = averaged_probabilities(model, list(HALVES), ["aino"])
    assert found == pytest.approx(expected, abs=1e-5)
    assert found <= min(name_loss(one, targets).item() for one in logits) + math.log(2)


def test_the_writer_mixes_as_the_model_does(model):
    noise, writer = 0.7 * gumbel_noise(8, 74), Writer(model)
    for mixture in (HALVES, {"Finnish": 0.2, "Zulu": 0.8}, {"Zulu": -0.5}, {}):
        model.set_adapter(mixture or None)
        assert writer.mix(mixture, noise) == sample_names(model, noise)
    assert writer.write("Zulu", 0.7, noise) == writer.mix({"Zulu": 0.7}, noise)
    assert writer.write(None, 1.0, noise) == sample_names(load_name_gpt(), noise)


def losses(model, mixture):
    model.set_adapter(mixture)
    return [evaluate(model, names.load(language).test) for language in ("Finnish", "Zulu")]


@pytest.mark.parametrize("share", [0.0, 0.15, 0.5, 1.0])
def test_sentence_has_both_losses_and_how_much_of_each_gain_is_kept(explorer, model, share):
    sentence = explorer.move(share=share)
    base, own = losses(model, None), [losses(model, "Finnish")[0], losses(model, "Zulu")[1]]
    found = losses(model, {"Finnish": 1 - share, "Zulu": share})
    assert f"{1 - share:.2f} × Finnish + {share:.2f} × Zulu: " in sentence
    for language, loss, before, after in zip(("Finnish", "Zulu"), found, base, own, strict=True):
        gain = (before - loss) / (before - after)
        what = f"{gain:.0%} of its adapter's gain" if gain >= 0 else f"worse than the base's {before:.2f}"
        assert f"{loss:.2f} nats on {language} names, {what}" in sentence


def test_guess_is_said_at_half_and_half_only(explorer, plain):
    assert "Your guess: 2.60 and 2.70." in explorer.move(share=0.5)
    assert "guess" not in explorer.move(share=0.55)
    assert "guess" not in plain.move(0.5)


def test_names_are_the_mixed_models_own(explorer, model):
    model.set_adapter({"Finnish": 0.3, "Zulu": 0.7})
    written = explorer.view.written(0.7)
    assert [one.name for one in written] == sample_names(model, 0.7 * gumbel_noise(SHOWN, SEED))
    assert all(len(one.name) == len(one.tastes) for one in written)


def test_at_the_ends_each_judge_owns_most_letters(explorer):
    for share, mine, other in ((0.0, "1", "2"), (1.0, "2", "1")):
        signs = "".join(one.tastes for one in explorer.view.written(share))
        assert signs.count(mine) > 2 * signs.count(other)


def test_any_two_languages_can_be_mixed():
    view = Mix(first="Italian", second="Polish")
    assert "× Italian + 0.25 × Polish" in view.move(0.25) and view.weights(0.25) == {"Italian": 0.75, "Polish": 0.25}


def test_the_saved_picture_tells_of_half_and_half(explorer):
    said = str(explorer.view.static_figure())
    assert explorer.move(share=0.5).partition(": ")[2].partition(".  ")[0].partition(". Your")[0] in said
    assert COLUMNS[0] == 0 and COLUMNS[-1] == 1


@pytest.mark.parametrize("guess", [2.5, "2.5", (2.5,), (2.5, "2.6"), (2.5, True), {"Finnish": 2.5, "Zulu": 2.6}])
def test_a_guess_that_is_not_two_losses_is_refused(guess):
    with pytest.raises(TypeError, match="Give 2 numbers in a list, each a loss in nats from 1 to 6"):
        Mix(guess)


@pytest.mark.parametrize("guess", [(0.5, 2.0), (2.0, 50), (float("nan"), 2.0)])
def test_a_guess_off_the_plane_is_refused(guess):
    with pytest.raises(ValueError, match="each a loss in nats from 1 to 6"):
        Mix(guess)


def areas(axes):
    return [patch.get_width() * patch.get_height() for patch in axes.patches if isinstance(patch, Rectangle)]


def point(axes, marker):
    return [tuple(map(float, np.ravel(line.get_data()))) for line in axes.lines if line.get_marker() == marker]


def test_adapters_are_filled_as_high_as_their_weight(explorer):
    explorer.move(share=0.25)
    fills, words = explorer.view.squares._fills, explorer.view.squares._words
    assert [fill.get_width() ** 2 for fill in fills] == pytest.approx([20_736] * 2)
    assert [fill.get_width() * fill.get_height() for fill in fills] == pytest.approx([0.75 * 20_736, 0.25 * 20_736])
    assert [word.get_text() for word in words] == ["Finnish\n× 0.75", "Zulu\n× 0.25"]


def test_the_plane_has_base_ends_half_of_both_gains_and_the_guess():
    view = Mix(guess=(1.2, 5.0))
    axes, base, path = view.picture.figure.axes[2], view.base, view.path
    assert point(axes, "s") == [base] and point(axes, "v") == [tuple(path[-1])] and tuple(path[0]) in point(axes, "o")
    assert point(axes, "D") == [(1.2, 5.0)]
    (region,) = axes.patches
    assert region.get_bbox().max == pytest.approx([(base[0] + path[0][0]) / 2, (base[1] + path[-1][1]) / 2])
    (low_x, high_x), (low_y, high_y) = axes.get_xlim(), axes.get_ylim()
    assert low_x < 1.2 and path[-1][0] < high_x and low_y < path[-1][1] and 5.0 < high_y  # the guess has its room


def test_the_dot_stands_on_the_path(explorer):
    for share, place in ((0.0, 0), (0.5, 10), (0.75, 15), (1.0, 20)):
        explorer.move(share=share)
        assert np.ravel(explorer.view.dot.get_data()) == pytest.approx(explorer.view.path[place])


def test_tiles_tell_the_judges_apart_by_colour_and_weight(explorer):
    explorer.move(share=0.5)
    signs = "".join(one.tastes for one in explorer.view.written(0.5))
    colours = {"1": COLOURS["lora"], "2": COLOURS["other"], "-": "white"}
    faces = [tuple(face) for face in explorer.view.board._tiles.get_facecolor()]
    assert faces == [to_rgba(colours[sign]) for sign in signs] and {"1", "2"} <= set(signs)
    assert {sign: look[3] for sign, look in TILES.items()} == {"1": "normal", "2": "bold", "-": "normal"}


def test_the_saved_picture_has_a_board_and_a_dot_for_each_mixture(plain):
    made = plain.draw_columns()
    titles = [axes.get_title(loc="left").strip() for axes in made.axes[:5]]
    assert titles[::2] == ["1 Finnish", "0.5 Finnish\n0.5 Zulu", "1 Zulu"]
    assert [round(area) for area in areas(made.axes[5])] == [
        342_720,
        20_736,
        10_368,
        20_736,
        10_368,
    ]  # outline, filling
    dots = point(made.axes[-1], "o")
    assert all(
        plain.losses(share) in dots for share in COLUMNS[:-1]
    )  # the last is the second adapter alone, a triangle
    assert not point(made.axes[-1], "D")  # no guess, no diamond
