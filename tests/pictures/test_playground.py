"""The playground: what can be trained, what is trained, what is drawn of it, and how the page answers meanwhile."""

import asyncio
import base64
import copy
import io
import itertools
import math
import re

import lora_teach
from lora_teach import LoRAModel
from lora_teach.bases import accuracy, evaluate, gumbel_noise, load_digit_net, load_name_gpt, sample_names
from lora_teach.config import LoRAConfig
from lora_teach.datasets import digits, names
from lora_teach.live import LivePicture
from lora_teach.measure.judging import TEMPERATURE
from lora_teach.measure.retraining import CHANCE
from lora_teach.measure.tuning import trainable_copy
from lora_teach.overlay.targets import choose
from lora_teach.pictures.playground import Playground
from lora_teach.pictures.playground import view as playground
from lora_teach.pictures.playground.numbers import MATERIALS, METHODS, SEED, DigitMaterial, Run, Settings, plan
from lora_teach.pictures.playground.panels import LORA_ROLES, Curve, Samples, role_of
from lora_teach.pictures.playground.view import KEPT, Bench
from lora_teach.plots import COLOURS, Picture, figure
from lora_teach.plots.name_tiles import Written
from lora_teach.plots.style import LINES, MARKERS
from lora_teach.utils.threads import one_thread
from tests.live.sweep import assert_whole

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image

# Materials


def test_there_are_three_kinds_of_changed_digits_and_every_language_but_english():
    assert list(MATERIALS) == ["turned 30", "turned 90", "inverted", *names.languages()[1:]]
    splits = [digits.rotated(30), digits.rotated(90), digits.inverted()]
    for material, split in zip(MATERIALS.values(), splits, strict=False):
        assert torch.equal(material.split.train[0], split.train[0])


@pytest.mark.parametrize("name", MATERIALS)
def test_every_choice_of_layers_can_be_adapted(name):
    material = MATERIALS[name]
    for targets in material.layers.values():
        assert choose(material.base, LoRAConfig(rank=1, target_modules=targets)).adapted
    assert len(material.layers) == 4 and "all" in material.layers


@pytest.mark.parametrize("name", MATERIALS)
def test_eight_samples_of_the_base_are_shown_first(name):
    material = MATERIALS[name]
    assert len(material.before) == 8
    assert material.before == material.samples(material.base) == material.samples(material.base)


def test_digits_are_scored_and_shown_on_the_test_split():
    material, (x, y) = MATERIALS["turned 90"], digits.rotated(90).test
    assert material.start == accuracy(load_digit_net(), x, y)
    pixels, truth = material.shown
    assert torch.equal(pixels, x[:8]) and torch.equal(truth, y[:8])
    assert material.before == load_digit_net()(x[:8]).argmax(-1).tolist()
    assert material.tell(0.917) == "92%"


def test_names_are_scored_on_the_validation_split_and_written_with_the_dice_of_notebook_00():
    material = MATERIALS["Zulu"]
    assert material.start == pytest.approx(evaluate(load_name_gpt(), names.load("Zulu").validation), rel=1e-5)
    assert material.before == sample_names(load_name_gpt(), TEMPERATURE * gumbel_noise(8, SEED))
    assert material.tell(2.0372) == "2.04 nats"


@pytest.mark.parametrize("name", ["inverted", "Finnish"])
def test_batches_hold_training_data_in_an_order_of_the_seed(name):
    material = MATERIALS[name]
    first, again, other = (next(iter(material.batches(seed)))[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)
    if isinstance(material, DigitMaterial):
        rows = {tuple(row) for row in material.split.train[0].tolist()}
        assert all(tuple(row) in rows for row in first.tolist())
    else:
        train = set(material.split.train)
        assert set(names.decode(first[:, 1:])) <= train  # without the mark at the start


# Runs


def finished(**changes):
    run = Run(Settings().changed(**changes))
    while run.advance(1.0):
        pass
    run.end()
    return run


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("material", ["inverted", "Zulu"])
def test_plan_counts_what_the_run_trains(material, method):
    for targets in MATERIALS[material].layers:
        settings = Settings(material, method, rank=7, targets=targets)
        planned, model = plan(settings), Run(settings).model
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert planned.trainable == trainable
        assert planned.total == sum(p.numel() for p in model.parameters())
        assert (trainable == planned.total) == (method == "full")


def test_layers_too_small_for_the_rank_are_left_out_of_all_and_told():
    assert list(plan(Settings(rank=10)).left_out) == []
    assert list(plan(Settings(rank=12)).left_out) == ["output"]
    assert list(plan(Settings(rank=96)).left_out) == ["hidden1", "output"]
    assert "Use 1..10" in plan(Settings(rank=12)).left_out["output"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rank": 11, "targets": "output"}, "rank=11 is too large for Linear.128 → 10.*Use 1..10"),
        ({"rank": 0}, "rank=0 is too small"),
        ({"material": "Klingon"}, "material='Klingon' is unknown. Use one of: 'turned 30'"),
        ({"material": "Zulu", "targets": "hidden1"}, "targets='hidden1' is unknown. Use one of: 'q and v'"),
        ({"method": "half"}, "method='half' is unknown"),
        ({"scaling": "r"}, "scaling='r' is unknown"),
        ({"alpha": "much"}, "alpha='much' is not a number"),
        ({"lr": 0.0}, "lr=0.0 is no learning rate"),
        ({"lr": "high"}, "lr='high' is no learning rate"),
        ({"steps": 0}, "steps=0 is too small"),
        ({"seed": -1}, "seed=-1 is no seed"),
        ({"seed": 0.5}, "seed=0.5 is no seed"),
        ({"ranks": 4}, "no setting 'ranks'. Use any of: material, method, rank"),
    ],
)
def test_what_cant_be_trained_is_refused_in_words(changes, words):
    with pytest.raises((TypeError, ValueError), match=words):
        Settings().changed(**changes)


def test_another_material_keeps_the_layers_it_has_and_takes_all_where_it_lacks_them():
    assert Settings(targets="hidden1").changed(material="inverted").targets == "hidden1"
    assert Settings(targets="hidden1").changed(material="Zulu").targets == "all"
    assert Settings(targets="hidden1").changed(material="Zulu", targets="MLP").targets == "MLP"


@pytest.mark.parametrize(("rule", "factor"), [("alpha/r", 2.0), ("alpha/sqrt(r)", 4.0), ("alpha", 8.0)])
def test_alpha_reaches_every_layer_by_the_rule(rule, factor):
    settings = Settings(rank=4, alpha=8.0, scaling=rule)
    assert settings.factor == factor
    assert {layer.scaling for layer in Run(settings).model.lora_layers.values()} == {factor}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("material", ["turned 30", "Finnish"])
def test_a_run_is_the_librarys_own_training_and_repeats_to_the_last_bit(material, method):
    settings = Settings(material, method, lr=0.02, steps=12, seed=3)
    brings = MATERIALS[material]
    model = trainable_copy(brings.base, None if method == "full" else 4, seed=3)
    with one_thread():
        history = lora_teach.train(
            model, brings.batches(3), brings.loss_fn, lr=0.02, steps=12, seed=3, progress=False
        )  # fmt: skip
    for seconds in (-1.0, 1.0):  # a step at a time, or many
        run = Run(settings)
        while run.advance(seconds):
            pass
        run.end()
        assert run.history.loss == history.loss and run.history.stopped is None
        assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), model.parameters(), strict=True))


def test_base_random_numbers_and_threads_stay_as_they_are():
    base, state, threads = MATERIALS["inverted"].base, torch.get_rng_state(), torch.get_num_threads()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    for method in METHODS:
        finished(material="inverted", method=method, steps=5).updates()
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


def test_a_finished_run_has_score_and_samples():
    run = finished(steps=60)
    x, y = run.material.split.test
    assert run.score == accuracy(run.model, x, y) > run.material.start
    assert run.after == run.material.samples(run.model) == run.samples()
    assert run.loss == pytest.approx(sum(run.history.loss[-20:]) / 20)
    assert repr(run) == f"Run 1 (turned 90°, r = 4): 60 steps, {run.score:.0%} of the test digits read right"


def test_a_run_ended_early_says_where_and_is_scored():
    run = Run(Settings(steps=30))
    assert math.isnan(run.loss)
    for _ in range(7):
        assert run.advance(-1.0)
    assert "not scored yet" in repr(run)
    run.end()
    assert run.history.stopped == "stopped after step 7 of 30" and run.score is not None
    assert run.loss == pytest.approx(sum(run.history.loss) / 7)
    assert not run.model.training and not any(p.grad is not None for p in run.model.parameters())


def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_a_usable_model():
    run = Run(Settings(method="full", lr=1e30, steps=30))
    while run.advance(1.0):
        pass
    run.end()
    assert run.history.stopped.startswith("not finite at step ") and len(run.history) < 30
    assert 0 <= run.score <= 1 and all(p.isfinite().all() for p in run.model.parameters())


@pytest.mark.parametrize("material", ["turned 90", "Zulu"])
def test_updates_are_what_merging_adds_and_what_full_fine_tuning_has_moved(material):
    base = {name: module.weight.clone() for name, module in MATERIALS[material].base.named_modules()
            if isinstance(module, torch.nn.Linear)}  # fmt: skip
    for method in METHODS:
        run = finished(material=material, method=method, steps=5)
        updates, model = run.updates(), run.model
        if isinstance(model, LoRAModel):
            model = model.remove(merge=True)
        for name, update in updates.items():
            torch.testing.assert_close(model.get_submodule(name).weight - base[name], update, rtol=1e-4, atol=1e-6)
        assert len(updates) == len(base) - (material == "Zulu" and method == "LoRA")  # the head is tied
        name, largest = Run.largest_update(finished(material=material, method=method, steps=5))
        assert largest.norm() == max(update.norm() for update in updates.values()) == updates[name].norm()


def test_notebook_says_too_high_a_rate_ends_in_guessing_and_a_small_alpha_saves_it():
    for settings in ({"lr": 0.1}, {"lr": 0.3}):
        stuck, saved = finished(**settings), finished(alpha=0.1, **settings)
        assert abs(stuck.loss - CHANCE) < 0.02 and stuck.score < 0.2
        assert saved.loss < 1.0 and saved.score > 0.7


def test_notebook_says_inverted_digits_need_a_high_rank():
    scores = [finished(material="inverted", rank=rank, alpha=rank).score for rank in (8, 64)]
    full = finished(material="inverted", method="full").score
    assert scores[0] < 0.7 < scores[1] < full


def test_notebook_says_full_fine_tuning_learns_finnish_names_by_heart():
    run = Run(Settings("Finnish", "full", lr=0.001, steps=500))
    while len(run.history) < 200:
        run.advance(-1.0)
    loss, score = run.loss, run.material.score(run.model)
    while run.advance(1.0):
        pass
    run.end()
    assert run.loss < loss - 0.3 and run.score > score + 0.2


# Panels


def curve(number, losses, planned=None, full=False):
    return Curve(number, f"run {number}", role_of(number, full), planned or len(losses), losses)


FALLING = [10 / (1 + step) for step in range(200)]


@pytest.fixture
def drawn():
    return Bench()


def test_bar_is_to_scale(drawn):
    drawn.bar.show("next", trainable=250, total=1000)
    assert drawn.bar._trains.get_width() == 0.25 and drawn.bar._trains.get_x() == 0.75
    assert drawn.bar._frozen.get_width() == 1.0
    assert drawn.bar._inside.get_text() == "750 frozen" and drawn.bar._beside.get_text() == "250 train: 25.0%"


def test_bar_of_full_fine_tuning_is_full_and_one_that_cant_be_trained_is_not_drawn(drawn):
    drawn.bar.show("next", trainable=1000, total=1000)
    assert drawn.bar._trains.get_width() == 1.0 and drawn.bar._beside.get_text() == "1,000 train"
    drawn.bar.show("no")
    assert not drawn.bar._frozen.get_visible() and drawn.bar._trains.get_width() == 0
    assert drawn.bar._beside.get_text() == "" and drawn.bar._title.get_color() == COLOURS["full"]


def test_full_fine_tuning_keeps_its_own_look_and_neighbours_of_lora_differ_twice():
    assert {role_of(number, full=True) for number in range(1, 9)} == {"full"}
    for one, other in itertools.pairwise(role_of(number, full=False) for number in range(1, 9)):
        assert COLOURS[one] != COLOURS[other] and LINES[one] != LINES[other] and MARKERS[one] != MARKERS[other]
    assert "full" not in LORA_ROLES


def test_newest_is_thick_and_earlier_ones_are_thin_and_numbered_at_their_ends(drawn):
    drawn.losses.show([curve(1, FALLING), curve(2, FALLING[:50], full=True)], curve(3, FALLING))
    thin = drawn.losses._axes.lines[2:]
    assert [line.get_linewidth() for line in thin] == [1.3, 1.3] and drawn.losses._mean.get_linewidth() == 3
    assert [line.get_linestyle() for line in thin] == ["-", "--"]
    assert [(text.get_text(), round(text.get_position()[0])) for text in drawn.losses._ends] == [("1", 202), ("2", 52)]
    labels = [text.get_text() for text in drawn.losses._axes.get_legend().get_texts()]
    assert labels == ["1  run 1", "2  run 2", "3  run 3"]


def test_numbers_of_lines_that_end_together_dont_overlap(drawn):
    drawn.losses.show([curve(number, FALLING) for number in range(1, 9)], None)
    drawn.picture.pixels()
    boxes = sorted((text.get_window_extent() for text in drawn.losses._ends), key=lambda box: box.y0)
    assert all(lower.y1 <= upper.y0 + 1 for lower, upper in itertools.pairwise(boxes))


def test_axis_reaches_over_every_loss_as_a_run_goes_on(drawn):
    drawn.losses.show([], curve(1, [2.0], planned=200))
    drawn.losses.move(curve(1, [2.0, 2.5, 0.001], planned=200))
    low, high = drawn.losses._axes.get_ylim()
    assert low < min(curve(1, [2.0, 2.5, 0.001], 200).mean) and 2.5 < high
    assert not drawn.losses.move(curve(1, [2.0, 2.5, 1.0], planned=200))
    assert drawn.losses._axes.get_xlim()[1] >= 200


def test_a_loss_far_above_all_beginnings_is_cut_off_and_told(drawn):
    drawn.losses.show([], curve(1, [2.0, 5e6, 2.3], planned=200))
    assert drawn.losses._axes.get_ylim()[1] < 4
    assert drawn.losses._title.get_text() == "Loss of each run, cut off: the highest is 5e+06"
    drawn.losses.show([], curve(1, [2.0, 2.1], planned=200))
    assert drawn.losses._title.get_text() == "Loss of each run"


def test_runs_that_went_leave_nothing(drawn):
    drawn.losses.show([], None)
    empty = drawn.picture.whole()
    drawn.losses.show([curve(1, FALLING)], curve(2, FALLING[:30]))
    drawn.losses.show([], None)
    drawn.losses._axes.set_ylim(0.01, 20)
    assert np.array_equal(drawn.picture.whole(), empty)


def test_spectrum_marks_the_rank(drawn):
    assert drawn.spectrum.show("hidden1", [20.0, 10.0, 0.0, 0.0], 2, "lora")
    assert list(drawn.spectrum._edge.get_xdata()) == [2.5, 2.5]
    assert drawn.spectrum._told.get_text() == "rank 2 of 4" and drawn.spectrum._title.get_text() == "ΔW of hidden1"
    assert drawn.spectrum._axes.get_ylim()[1] > 20
    drawn.spectrum.show("hidden1", [2.0, 1.0, 0.5, 0.25], 4, "full")
    assert len(drawn.spectrum._edge.get_xdata()) == 0  # nothing is missing from full rank
    drawn.spectrum.show("hidden1", [0.0] * 4, 0, "full")
    drawn.spectrum.clear()
    assert len(drawn.spectrum._values.get_xdata()) == 0


def test_what_is_drawn_quickly_is_what_is_drawn_whole(drawn):
    drawn.losses.show([curve(1, FALLING)], curve(2, FALLING[:3], planned=300))
    drawn.picture.background_changed()
    for taken in (4, 60, 200):
        changed = drawn.losses.move(curve(2, [2 * loss for loss in FALLING[:taken]], planned=300))
        changed |= drawn.spectrum.show("hidden1", [taken / 2, taken / 4, 0.0], 2, "full")
        drawn.bar.show(f"taken {taken}", taken, 1000)
        if changed:
            drawn.picture.background_changed()
        drawn.picture.pixels()
        assert_whole(drawn, taken)


# Samples

PIXELS = np.linspace(0, 1, 8 * 64).reshape(8, 64)
TRUTH = [0, 1, 2, 3, 4, 5, 6, 7]
NAMES = [Written(name, "e" * len(name)) for name in ("anna", "bert", "carl", "dora", "emil", "fritz", "gerda", "hans")]


@pytest.fixture
def samples():
    made = figure(10, 2)
    drawn = Samples(made)
    drawn.picture = Picture(made, drawn.moving)
    return drawn


def seen(artists):
    return [artist for artist in artists if artist.get_visible()]


def test_wrong_readings_have_a_frame_a_cross_and_another_colour(samples):
    samples.digits(PIXELS, TRUTH, [0, 1, 2, 3, 4, 5, 6, 9], TRUTH)
    before, after = samples._halves
    assert [frame.get_visible() for frame in before._frames] == [False] * 7 + [True]
    assert [text.get_text() for text in before._read][-2:] == ["→ 6 ✓", "→ 9 ✗"]
    assert {text.get_color() for text in before._read[:7]} == {COLOURS["ink"]}
    assert before._read[7].get_color() == COLOURS["full"] and before._read[7].get_weight() == "bold"
    assert not seen(after._frames)


def test_each_digit_stands_above_its_reading(samples):
    samples.digits(PIXELS, TRUTH, TRUTH, TRUTH)
    half = samples._halves[0]
    shown = np.asarray(half._image.get_array())
    for index, text in enumerate(half._read):
        left = index * 11
        assert np.array_equal(shown[:, left : left + 8], PIXELS[index].reshape(8, 8).astype(shown.dtype))
        assert left - 0.5 < text.get_position()[0] < left + 7.5


def test_names_take_the_digits_place_and_the_other_way_round(samples):
    samples.digits(PIXELS, TRUTH, TRUTH, TRUTH)
    assert samples.names(NAMES, NAMES, "Zulu")  # the key came: the background changed
    for half in samples._halves:
        assert not seen(half._digits) and seen(half._names)
    assert not samples.names(NAMES, NAMES, "Zulu")
    assert samples.digits(PIXELS, TRUTH, TRUTH, TRUTH)
    for half in samples._halves:
        assert seen(half._digits) and not seen(half._names)
    assert samples._halves[0].axes.get_legend() is None


def test_without_a_run_the_right_half_is_empty(samples):
    samples.digits(PIXELS, TRUTH, TRUTH, [])
    assert not seen([*samples._halves[1]._digits, *samples._halves[1]._names])
    samples.names(NAMES, [], "Zulu")
    assert not seen([*samples._halves[1]._digits, *samples._halves[1]._names])


def test_the_key_names_the_language(samples):
    samples.names(NAMES, NAMES, "Zulu")
    texts = [text.get_text() for text in samples._halves[0].axes.get_legend().get_texts()]
    assert texts == ["English judge", "Zulu judge", "neither", "a real name"]


def test_nothing_is_cut_off_or_overlaps(samples):
    samples.titles("before: 3.13 nats a letter on the validation names", "after run 12: 2.07 nats a letter")
    samples.digits(PIXELS, TRUTH, [9] * 8, [9] * 8)
    samples.picture.pixels()
    for half in samples._halves:
        boxes = [text.get_window_extent() for text in half._read]
        assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:], strict=False))
        assert boxes[0].x0 > 0 and boxes[-1].x1 < 1000 and min(box.y0 for box in boxes) > 0
    titles = [half.title.get_window_extent() for half in samples._halves]
    assert titles[0].x1 < titles[1].x0 and titles[1].x1 < 1000


# The page

BAD_FOR_LORA = [{"rank": "8"}, {"rank": 0}, {"alpha": float("nan")}, {"scaling": "r"}, {"targets": "hidden1"}]
BUTTONS = ("_train", "_stop", "_remove", "_clear")


@pytest.fixture
def eager(monkeypatch):
    """Looks at the page and draws after every step, so that nothing depends on the clock; makes no pixels."""
    monkeypatch.setattr(playground, "PAUSE", -1.0)
    monkeypatch.setattr(playground, "REST", -1.0)
    monkeypatch.setattr(LivePicture, "paint", lambda live: None)


def at_step(number, action, monkeypatch):
    """Makes ``action`` happen while the page is looked at after that many steps, as a click would."""
    original = Playground._show_progress

    def show(self, seconds):
        original(self, seconds)
        if len(self.running.history) == number:
            asyncio.get_running_loop().call_soon(action, self)

    monkeypatch.setattr(Playground, "_show_progress", show)


def train(play, **settings):
    return asyncio.run(play.train(**settings))


def enabled(play):
    return [name.strip("_") for name in BUTTONS if not getattr(play, name).disabled]


def words(html):
    return re.sub(r"<[^>]+>", " ", html.value)


def rows(play):
    return re.findall(r"<tr>.*?</tr>", play._table.value)


def test_a_run_from_code_is_the_run_that_its_settings_make(eager):
    play = Playground(steps=6)
    run = train(play, rank=2, seed=5)
    expected = Run(Settings(rank=2, steps=6, seed=5))
    while expected.advance(1.0):
        pass
    assert run.history.loss == expected.history.loss and play.runs == [run]
    assert run.settings == play.settings == expected.settings
    assert play.running is None and play.failure is None


def test_the_first_picture_shows_the_material_and_that_there_is_no_run():
    play = Playground(material="Zulu")
    assert play.sentence == (
        "No run yet. Next: LoRA on Zulu names · all layers · r = 4 · α = 4, α/r = 1 · learning rate 0.01 · 200 steps · "
        "seed 0. 20,736 of 363,456 numbers would train."
    )
    assert enabled(play) == ["train"] and rows(play) == []
    assert [half.title.get_text() for half in play.view.samples._halves][1] == "after: no run yet"


@pytest.mark.parametrize("runs", [0, 1])
def test_every_move_of_every_control_is_seen_in_the_picture(runs):
    play = Playground()
    if runs:
        train(play, steps=3)
    for name, widget in play.controls.items():
        start, places = widget.value, [value for _, value in widget.options]
        if isinstance(widget, ipywidgets.SelectionSlider):
            places = [places[0], places[1], places[-1]]
        for value in places:
            before = play._live.image.value
            moved = value != widget.value
            widget.value = value
            assert (play._live.image.value != before) == moved, f"{name} at {value}"
        if not runs:
            assert_whole(play, name)
        widget.value = start
    assert_whole(play)


def test_the_bar_follows_the_controls_with_the_counts_of_the_library():
    play = Playground()
    for settings in ({"rank": 16}, {"targets": "hidden2"}, {"method": "full"}, {"method": "LoRA", "material": "Zulu"}):
        play.set(**settings)
        model = Run(play.settings).model
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert f"{trainable:,} train" in play.view.bar._beside.get_text()


def test_full_fine_tuning_disables_loras_controls():
    controls = Playground(method="full").controls
    disabled = [name for name, widget in controls.items() if widget.disabled]
    assert disabled == ["rank", "alpha", "scaling", "targets"]
    controls["method"].value = "LoRA"
    assert not any(widget.disabled for widget in controls.values())


def test_layers_depend_on_the_material_and_all_stays_all():
    play = Playground(targets="hidden1")
    controls = play.controls
    controls["material"].value = "inverted"
    assert play.settings.targets == "hidden1"
    controls["material"].value = "Zulu"
    assert [value for _, value in controls["targets"].options] == list(MATERIALS["Zulu"].layers)
    assert play.settings.targets == "all"
    play.set(material="turned 30", targets="output")
    assert play.settings.targets == "output"


def test_a_value_between_two_places_gets_one_of_its_own():
    play = Playground(rank=5)
    play.set(lr=3e-4, alpha=10, steps=7, seed=1234)
    assert (play.settings.rank, play.settings.lr, play.settings.alpha) == (5, 3e-4, 10)
    assert (play.settings.steps, play.settings.seed) == (7, 1234)
    places = [value for _, value in play.controls["alpha"].options]
    assert places == sorted(places) and places.count(10) == 1
    play.set(lr=0.05)
    assert len({label for label, _ in play.controls["lr"].options}) == len(play.controls["lr"].options)


def test_what_cant_be_trained_is_told_where_it_is_chosen_and_loses_nothing():
    play = Playground()
    run = train(play, steps=3)
    play.controls["rank"].value = 16
    play.controls["targets"].value = "output"
    assert "This can't be trained" in words(play._trouble) and "Use 1..10" in words(play._trouble)
    assert play._train.disabled and play.runs == [run]
    with pytest.raises(ValueError, match=r"rank=16 is too large for Linear\(128 → 10\)"):
        train(play)
    assert play.running is None and play.runs == [run]
    play.controls["rank"].value = 10
    assert words(play._trouble).strip() == "" and not play._train.disabled
    play.set(rank=16, targets="all")
    assert words(play._trouble).strip().startswith("Left out: output, since rank=16 is too large")


BAD_IN_FULL = [{"method": "full", "material": "Zulu"} | bad for bad in BAD_FOR_LORA]


def test_code_that_asks_for_the_impossible_moves_nothing():
    play = Playground()
    before, moves = play.settings, []
    for widget in play.controls.values():
        widget.observe(moves.append)  # not even there and back
    for bad in (
        {"rank": 16, "targets": "output"},
        {"material": "Klingon"},
        {"lr": -1, "rank": 8},
        {"ranks": 8},
        *BAD_IN_FULL,
    ):
        with pytest.raises((TypeError, ValueError)):
            play.set(**bad)
        with pytest.raises((TypeError, ValueError)):
            train(play, **bad)
    assert play.settings == before and not play.runs and not moves


def test_stop_ends_the_run_after_its_step_and_keeps_it(eager, monkeypatch):
    at_step(4, lambda play: play._stop.click(), monkeypatch)
    play = Playground(steps=100)
    run = train(play)
    assert len(run.history) == 4 and run.history.stopped == "stopped after step 4 of 100"
    assert play.runs == [run] and "It was stopped after step 4 of 100." in words(play._foot)
    assert "4 of 100" in rows(play)[0] and play.sentence.endswith("trained, stopped after step 4 of 100.")
    assert run.history.loss == train(Playground(steps=4)).history.loss


def test_buttons_that_would_do_nothing_are_grey(eager, monkeypatch):
    states = []
    at_step(3, lambda play: states.append(enabled(play)), monkeypatch)
    play = Playground(steps=5)
    for expected in (["stop"], ["stop", "remove", "clear"]):
        train(play)
        assert states.pop() == expected and enabled(play) == ["train", "remove", "clear"]
    play._stop.click()
    train(play)
    assert play.runs[-1].history.stopped is None  # a Stop without a run is forgotten
    play.clear()
    assert enabled(play) == ["train"]


def press(play):
    """A press of Train as the kernel handles it, awaited to its end."""

    async def pressed():
        play._train.click()
        await play._task

    asyncio.run(pressed())


def test_the_button_trains_in_the_background_of_the_same_loop(eager):
    play, by_code = Playground(steps=4), Playground(steps=4)
    press(play)
    assert play.runs[0].history.loss == train(by_code).history.loss
    play._train.click()  # plain Python, where no loop is running
    assert len(play.runs) == 2


def test_a_second_press_is_refused_in_plain_sight(eager, monkeypatch):
    seen = []

    def again(play):
        play._train_pressed(None)  # as if the page had not greyed it out yet
        seen.append(play._text.value)

    at_step(3, again, monkeypatch)
    play = Playground(steps=6)
    press(play)
    assert len(play.runs) == 1 and seen == ["run 1 is still going: Stop ends it"]


def test_code_waits_for_a_run_that_was_begun_by_the_button(eager):
    play, told = Playground(steps=6), []
    play._text.observe(lambda change: told.append(change.new), "value")

    async def both():
        play._train.click()
        return await play.train(rank=2)

    run = asyncio.run(both())
    assert [one.number for one in play.runs] == [1, 2] and play.runs[1] is run
    assert [one.settings.rank for one in play.runs] == [4, 2]
    assert "the next run waits for run 1" in told


def test_controls_moved_meanwhile_change_the_plan_and_not_the_run(eager, monkeypatch):
    def move(play):
        play.controls["rank"].value = 16
        play.controls["material"].value = "Zulu"

    at_step(4, move, monkeypatch)
    play = Playground(steps=6)
    run = train(play)
    assert run.settings == Settings(steps=6)
    assert play.settings == Settings("Zulu", rank=16, steps=6)
    monkeypatch.undo()
    assert run.history.loss == train(Playground(steps=6)).history.loss


def test_clear_and_remove_leave_the_run_that_is_going(eager, monkeypatch):
    at_step(4, lambda play: play._clear.click(), monkeypatch)
    play = Playground(steps=2)
    train(play), train(play)
    play.remove_last()
    assert [run.number for run in play.runs] == [1] and len(rows(play)) == 1
    run = train(play, steps=6)
    assert play.runs == [run] and run.number == 2 and len(run.history) == 6
    play.clear()
    play.remove_last()
    assert play.runs == [] and play._table.value == "" and play.sentence.startswith("No run yet.")


def broken(self, seconds):
    if len(self.history) == 3:
        raise ZeroDivisionError("the fourth batch")
    return original_advance(self, -1.0)


original_advance = Run.advance


def test_what_a_run_raises_is_raised_in_the_cell_and_shown_on_the_page(eager, monkeypatch):
    play = Playground(steps=6)
    kept = train(play)
    monkeypatch.setattr(Run, "advance", broken)
    with pytest.raises(ZeroDivisionError, match="the fourth batch"):
        train(play)
    assert "This run failed" in words(play._foot) and "ZeroDivisionError: the fourth batch" in words(play._foot)
    assert play.runs == [kept] and play.running is None and isinstance(play.failure, ZeroDivisionError)
    monkeypatch.undo()
    train(play)
    assert play.failure is None and len(play.runs) == 2 and "This run failed" not in words(play._foot)


@pytest.mark.parametrize("where", ["advance", "largest_update", "end", "__init__"])
def test_what_a_run_of_the_button_raises_is_shown_and_the_next_one_works(where, eager, monkeypatch):
    def fail(*arguments, **options):
        raise ZeroDivisionError("by <hand>")

    play = Playground(steps=4)
    with monkeypatch.context() as patch:
        patch.setattr(Run, where, fail)
        asyncio.run(pressed_and_waited_for(play))
        assert "This run failed" in words(play._foot) and "by &lt;hand&gt;" in play._foot.value
        assert play.runs == [] and play.running is None and "train" in enabled(play)
    press(play)
    assert len(play.runs) == 1 and play.failure is None


async def pressed_and_waited_for(play):
    play._train.click()
    if play._task is not None:
        await play._task


def test_the_kernels_interrupt_of_a_waiting_cell_ends_the_run_and_keeps_it(eager, monkeypatch):
    play = Playground(steps=100)

    async def cell():
        task = asyncio.current_task()
        at_step(4, lambda play: task.cancel(), monkeypatch)
        run = await play.train()
        await asyncio.sleep(0)  # the cell goes on undisturbed
        return run

    run = asyncio.run(cell())
    assert run.history.stopped == "stopped after step 4 of 100" and play.runs == [run]


def test_a_keyboard_interrupt_inside_a_step_ends_the_run_and_keeps_it(eager, monkeypatch):
    def interrupted(self, seconds):
        if len(self.history) == 5:
            raise KeyboardInterrupt
        return original_advance(self, -1.0)

    monkeypatch.setattr(Run, "advance", interrupted)
    play = Playground(steps=100)
    assert train(play).history.stopped == "stopped after step 5 of 100" and len(play.runs) == 1


def test_a_run_that_blows_up_is_kept_and_told():
    play = Playground(method="full", lr=1e30, steps=40)
    run = train(play)
    assert run.history.stopped.startswith("not finite at step") and play.runs == [run]
    assert "The learning rate or α is probably too large" in words(play._foot) and play.failure is None
    assert_whole(play)


def test_the_ninth_run_takes_the_place_of_the_first():
    play = Playground(steps=1)
    for _ in range(KEPT + 1):
        train(play)
    assert KEPT == 8 and [run.number for run in play.runs] == list(range(2, 10)) and len(rows(play)) == 8
    assert f"Run 1 made room for it: {KEPT} are kept." in words(play._foot)


def test_the_table_has_each_runs_settings_and_results():
    play = Playground(steps=30)
    lora = train(play, rank=8, alpha=16, scaling="alpha/sqrt(r)", targets="hidden1", lr=0.02, seed=3)
    full = train(play, method="full")
    first, second = ([" ".join(cell.split()) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows(play))
    start = MATERIALS["turned 90"].start
    assert first[:-1] == [
        "1", "turned 90°", "LoRA r = 8, hidden1", "α = 16, α/√r = 5.66", "0.02", "30", "3", f"{8 * (64 + 128):,}",
        f"{lora.loss:.3f}", f"{start:.0%} → {lora.score:.0%}",
    ]  # fmt: skip
    assert second[2:4] == ["everything", ""] and second[7] == "26,122" and float(second[-1]) >= 0
    assert f"{start:.0%} → {full.score:.0%} of the test digits read right" in words(play._foot)


def test_the_sentence_has_nothing_that_depends_on_the_machine():
    play = Playground()
    run = train(play, steps=5)
    assert play.sentence == (
        "1 run. The newest, run 1: LoRA of rank 4 on digits turned by 90°, 2,344 of 28,466 numbers trained, 5 steps."
    )
    run.history.seconds, run.score = [99.0], 0.5
    assert "99" not in play.sentence and "50" not in play.sentence


def test_a_saved_notebook_keeps_picture_and_sentence():
    play = Playground()
    train(play, steps=5)
    bundle = play._repr_mimebundle_()
    assert bundle["text/plain"] == play.sentence and "application/vnd.jupyter.widget-view+json" in bundle
    image = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert image.width <= 1200 and image.height > play.picture.figure.bbox.height


def test_what_stays_does_not_depend_on_when_it_was_drawn(eager, monkeypatch):
    often = Playground(steps=8)
    train(often)
    monkeypatch.undo()
    seldom = Playground(steps=8)
    train(seldom)
    assert (often.picture.whole() == seldom.picture.whole()).all()


@pytest.mark.parametrize("material", ["inverted", "Zulu"])
def test_a_runs_model_can_be_taken_saved_and_laid_over_a_fresh_base(material, tmp_path):
    run = train(Playground(material=material, steps=6))
    run.model.save_adapter(tmp_path)
    again = LoRAModel.from_pretrained(copy.deepcopy(run.material.base), tmp_path)
    assert run.material.samples(again) == run.after


def test_threads_and_random_numbers_stay_as_they_are():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    train(Playground(material="Zulu", steps=4))
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)


def test_runs_leave_no_widgets_behind():
    play = Playground(steps=2)
    train(play)
    before = len(ipywidgets.widgets.widget._instances)
    train(play), train(play, material="Zulu"), play.clear()
    assert len(ipywidgets.widgets.widget._instances) == before
