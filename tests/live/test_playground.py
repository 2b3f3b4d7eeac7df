import asyncio
import base64
import copy
import io
import re

import ipywidgets
import pytest
import torch
from PIL import Image

from lora_teach import LoRAModel
from lora_teach.pictures.playground import view as playground
from lora_teach.pictures.playground.material import MATERIALS
from lora_teach.pictures.playground.numbers import Run, Settings
from lora_teach.pictures.playground.view import KEPT, Playground
from tests.live.sweep import assert_whole

BUTTONS = ("_train", "_stop", "_remove", "_clear")


@pytest.fixture
def eager(monkeypatch):
    """Looks at the page and draws after every step, so that nothing depends on the clock; makes no pixels."""
    monkeypatch.setattr(playground, "PAUSE", -1.0)
    monkeypatch.setattr(playground, "REST", -1.0)
    monkeypatch.setattr(playground.LivePicture, "paint", lambda live: None)


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


def awake(play):
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
    assert play.running is None and play.error is None


def test_the_first_picture_shows_the_material_and_that_there_is_no_run():
    play = Playground(material="Zulu")
    assert play.sentence == (
        "No run yet. Next: LoRA on Zulu names · all layers · r = 4 · α = 4, α/r = 1 · learning rate 0.01 · 200 steps · "
        "seed 0. 20,736 of 363,456 numbers would train."
    )
    assert awake(play) == ["train"] and rows(play) == []
    assert [half.title.get_text() for half in play._drawing._drawn.samples._halves][1] == "after: no run yet"


@pytest.mark.parametrize("runs", [0, 1])
def test_every_move_of_every_control_is_seen_in_the_picture(runs):
    play = Playground()
    if runs:
        train(play, steps=3)
    for name, widget in play.controls.controls.items():
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
        assert f"{trainable:,} train" in play._drawing._drawn.bar._beside.get_text()


def test_full_fine_tuning_puts_loras_controls_to_sleep():
    controls = Playground(method="full").controls.controls
    asleep = [name for name, widget in controls.items() if widget.disabled]
    assert asleep == ["rank", "alpha", "scaling", "targets"]
    controls["method"].value = "LoRA"
    assert not any(widget.disabled for widget in controls.values())


def test_layers_depend_on_the_material_and_all_stays_all():
    play = Playground(targets="hidden1")
    controls = play.controls.controls
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
    places = [value for _, value in play.controls.controls["alpha"].options]
    assert places == sorted(places) and places.count(10) == 1
    play.set(lr=0.05)
    assert len({label for label, _ in play.controls.controls["lr"].options}) == len(
        play.controls.controls["lr"].options
    )


def test_what_cant_be_trained_is_told_where_it_is_chosen_and_loses_nothing():
    play = Playground()
    run = train(play, steps=3)
    play.controls.controls["rank"].value = 16
    play.controls.controls["targets"].value = "output"
    assert "This can't be trained" in words(play._note) and "Use 1..10" in words(play._note)
    assert play._train.disabled and play.runs == [run]
    with pytest.raises(ValueError, match=r"rank=16 is too large for Linear\(128 → 10\)"):
        train(play)
    assert play.running is None and play.runs == [run]
    play.controls.controls["rank"].value = 10
    assert words(play._note).strip() == "" and not play._train.disabled
    play.set(rank=16, targets="all")
    assert words(play._note).strip().startswith("Left out: output, since rank=16 is too large")


def test_code_that_asks_for_the_impossible_moves_nothing():
    play = Playground()
    before = play.settings
    for bad in ({"rank": 16, "targets": "output"}, {"material": "Klingon"}, {"lr": -1, "rank": 8}, {"ranks": 8}):
        with pytest.raises((TypeError, ValueError)):
            play.set(**bad)
        with pytest.raises((TypeError, ValueError)):
            train(play, **bad)
    assert play.settings == before and not play.runs


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
    at_step(3, lambda play: states.append(awake(play)), monkeypatch)
    play = Playground(steps=5)
    for expected in (["stop"], ["stop", "remove", "clear"]):
        train(play)
        assert states.pop() == expected and awake(play) == ["train", "remove", "clear"]
    play._stop.click()
    train(play)
    assert play.runs[-1].history.stopped is None  # a Stop without a run is forgotten
    play.clear()
    assert awake(play) == ["train"]


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
        play.controls.controls["rank"].value = 16
        play.controls.controls["material"].value = "Zulu"

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
    assert play.runs == [kept] and play.running is None and isinstance(play.error, ZeroDivisionError)
    monkeypatch.undo()
    train(play)
    assert play.error is None and len(play.runs) == 2 and "This run failed" not in words(play._foot)


@pytest.mark.parametrize("where", ["advance", "largest_update", "end", "__init__"])
def test_what_a_run_of_the_button_raises_is_shown_and_the_next_one_works(where, eager, monkeypatch):
    def fail(*arguments, **options):
        raise ZeroDivisionError("by <hand>")

    play = Playground(steps=4)
    with monkeypatch.context() as patch:
        patch.setattr(Run, where, fail)
        asyncio.run(pressed_and_waited_for(play))
        assert "This run failed" in words(play._foot) and "by &lt;hand&gt;" in play._foot.value
        assert play.runs == [] and play.running is None and "train" in awake(play)
    press(play)
    assert len(play.runs) == 1 and play.error is None


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
    assert "The learning rate or α is probably too large" in words(play._foot) and play.error is None
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
