"""Valleys grow run by run, can be stopped, and say what their runs came to."""

import asyncio
import re
from math import inf

import ipywidgets
import pytest

from lora_teach.live import monitor
from lora_teach.live import watch as watching
from lora_teach.measure.retraining import Retrained
from lora_teach.pictures.valleys import numbers as measure
from lora_teach.pictures.valleys import view as live
from lora_teach.pictures.valleys.numbers import LEARNING_RATES, RANKS, Run, Sweep
from lora_teach.pictures.valleys.view import Growing, Valleys, grow_valleys
from tests.live.sweep import sweep as swept

LRS = (0.001, 0.01, 0.1)


def made(scaling="alpha/r", alpha=8, losses=None, lrs=LRS):
    """A sweep of ranks 1 and 64 without training."""
    sweep = Sweep(scaling, alpha, (1, 64), lrs)
    for rank, line in (losses or {1: [1.0, 0.5, 0.8], 64: [0.4, 0.1, 2.0]}).items():
        for lr, loss in zip(lrs, line, strict=False):
            sweep.add(Run(rank, lr, loss))
    return sweep


STAYS = made()
MOVES = made("alpha", 1, {1: [2.0, 0.9, 0.3], 64: [0.05, 0.8, inf]})


@pytest.fixture
def quick(monkeypatch):
    """Runs that cost nothing: the loss tells rank, learning rate and number of the run. Draws after every run."""
    calls = []

    def retrain(split, rank, *, lr, **options):
        calls.append((rank, lr, options))
        return Retrained(None, [rank + lr + 0.001 * len(calls)] * 20, 0.5, blew_up=lr > 1)

    monkeypatch.setattr(measure, "retrain", retrain)
    monkeypatch.setattr(watching, "PAUSE", -1.0)
    monkeypatch.setattr(monitor, "FRAME", -1.0)
    return calls


@pytest.fixture
def seen(monkeypatch):
    """The monitors that were put up."""
    shown = []

    class Seen(monitor.Monitor):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            shown.append(self)

    monkeypatch.setattr(watching, "Monitor", Seen)
    return shown


def at_run(number, action, monkeypatch):
    """Makes ``action`` happen while the page is looked at after that many runs, as a click would."""
    original = monitor.Monitor.draw_if_due

    def draw(self, sweep):
        original(self, sweep)
        if len(sweep) == number:
            asyncio.get_running_loop().call_soon(action, self)

    monkeypatch.setattr(monitor.Monitor, "draw_if_due", draw)


def points(line):
    return list(map(tuple, line.get_xydata().tolist()))


def test_all_runs_are_done_under_the_given_rule_and_kept_by_rank_and_learning_rate(quick, seen):
    sweep = asyncio.run(grow_valleys("alpha", alpha=2, seed=5))
    assert len(sweep) == len(quick) == seen[0].planned == 36 and sweep.stopped is None
    assert all(
        options["scaling"] == "alpha" and options["alpha"] == 2 and options["seed"] == 5 for *_, options in quick
    )
    assert {rank: set(line) for rank, line in sweep.loss.items()} == {rank: set(LEARNING_RATES) for rank in RANKS}
    for number, (rank, lr, _) in enumerate(quick, start=1):
        assert sweep.loss[rank][lr] == pytest.approx(rank + lr + 0.001 * number)


def test_each_dot_appears_as_its_run_ends(quick, seen, monkeypatch):
    states = []

    def look(shown):
        lines = shown.drawing.drawn.panel.lines
        states.append({rank: [lr for lr, _ in points(line)] for rank, line in lines.items()} | {"": shown._text.value})

    for number in (3, 5):
        at_run(number, look, monkeypatch)
    asyncio.run(grow_valleys())
    assert states[0] == {1: [0.01], 4: [0.01], 16: [0.01], 64: [], "": states[0][""]}
    assert states[1] == {1: [0.001, 0.01], 4: [0.01], 16: [0.01], 64: [0.01], "": states[1][""]}
    assert states[0][""].startswith("run 3 of 36, ") and states[0][""].endswith(" left")


def test_stop_leaves_the_runs_that_have_ended(quick, seen, monkeypatch):
    at_run(7, lambda shown: shown.button.click(), monkeypatch)
    sweep = asyncio.run(grow_valleys())
    assert len(quick) == len(sweep) == 7 and sweep.stopped == "stopped after run 7 of 36"
    assert sweep.loss[1].keys() == {0.01, 0.001} and sweep.loss[64].keys() == {0.01}
    said = seen[0].drawing.sentence(sweep)
    assert said.startswith("Ended after 7 of 36 runs.") and "not known yet" in said
    assert len(list(swept(live.explore(Valleys([sweep]), rule=["α/r, α = 8"], learning_rate=[0.001, 0.1])))) == 2


def test_the_kernels_interrupt_leaves_them_too(quick, monkeypatch):
    async def cell():
        task = asyncio.current_task()
        at_run(4, lambda shown: task.cancel(), monkeypatch)
        return await grow_valleys()

    assert asyncio.run(cell()).stopped == "stopped after run 4 of 36"


def test_what_stays_does_not_depend_on_when_it_was_drawn(quick, seen, monkeypatch):
    asyncio.run(grow_valleys(guess=0.02))
    quick.clear()
    monkeypatch.setattr(monitor, "FRAME", 1e9)
    asyncio.run(grow_valleys(guess=0.02))
    first, second = (shown.drawing.picture.pixels() for shown in seen)
    assert (first == second).all()


def test_no_widgets_are_left_behind(quick):
    asyncio.run(grow_valleys())
    before = len(ipywidgets.widgets.widget._instances)
    asyncio.run(grow_valleys())
    assert len(ipywidgets.widgets.widget._instances) == before


def test_bad_options_are_refused(quick):
    with pytest.raises(KeyError):
        asyncio.run(grow_valleys("r"))


def test_a_run_that_blew_up_is_drawn_at_the_upper_edge_and_said(quick, seen):
    sweep = asyncio.run(grow_valleys(ranks=[1, 64], lrs=[0.01, 3.0]))
    assert sweep.loss[64][3.0] == inf
    panel = seen[0].drawing.drawn.panel
    top = panel.axes.get_ylim()[1]
    assert points(panel.beyond)[0] == (3.0, top) and panel.words.get_visible()
    assert "rank 1 at infinity (it blew up)" in Valleys([sweep])(rule="α/r, α = 8", learning_rate=3.0)


def test_the_sentence_of_a_grown_picture_names_the_bottoms():
    assert Growing(STAYS).sentence(STAYS) == (
        "α/r, α = 8: the bottoms lie at 0.01 (rank 1), 0.01 (rank 64): all at one place."
    )
    assert Growing(MOVES).sentence(MOVES) == (
        "Constant 1: the bottoms lie at 0.1 (rank 1), 0.001 (rank 64): a factor of 100 apart."
    )


def test_the_view_says_each_ranks_loss_at_the_learning_rate_and_which_is_worst_off():
    explorer = Valleys.example(sweeps=[STAYS, MOVES])
    for values, sentence in swept(explorer):
        sweep = {"α/r, α = 8": STAYS, "Constant 1": MOVES}[values["rule"]]
        lr = values["learning_rate"]
        for rank in (1, 64):
            loss = sweep.loss[rank][lr]
            assert f"rank {rank} at {'infinity' if loss == inf else f'{loss:.2f}'}" in sentence
        losses = {rank: line[lr] for rank, line in sweep.loss.items() if line[lr] < inf}
        times = {rank: loss / min(sweep.loss[rank].values()) for rank, loss in losses.items()}
        said = re.findall(r"rank (\d+) at [\d.]+ \(([\d.]+) × its lowest\)", sentence)
        worst = max(times, key=times.get)
        assert said == ([] if times[worst] == 1 else [(str(worst), f"{times[worst]:.2g}")])
    assert "all at one place" in explorer.move(rule="α/r, α = 8") and "100 apart" in explorer.move(rule="Constant 1")


def test_the_view_marks_the_learning_rate_in_both_panels_and_each_run_at_it():
    view = Valleys([STAYS, MOVES])
    view(rule="α/r, α = 8", learning_rate=0.1)
    assert points(view.drawn.here[0]) == [(0.1, 0), (0.1, 1)] and points(view.drawn.here[1]) == [(0, 0.1), (1, 0.1)]
    assert [points(ring) for ring in view.drawn.dots.values()] == [[(0.1, 0.8)], [(0.1, 2.0)]]
    assert [points(mark) for mark in view.drawn.bottoms.values()] == [[(1, 0.01)], [(64, 0.01)]]


def test_the_guess_is_about_the_last_rank_under_the_last_rule():
    view = Valleys([STAYS, MOVES], guess=0.02)
    right = view.drawn.here[1].axes
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert labels == ["your guess for rank 64,\nConstant 1"]
    assert any(line.get_marker() == "D" and points(line) == [(64, 0.02)] for line in right.lines)
    assert "guess" not in view(rule="α/r, α = 8", learning_rate=0.01)
    assert view(rule="Constant 1", learning_rate=0.01).endswith("Your guess for rank 64: 0.02.")


def test_the_small_multiples_tell_of_every_rule():
    said = Valleys([STAYS, MOVES]).twin().sentence
    assert said == f"{Growing(STAYS).sentence(STAYS)} {Growing(MOVES).sentence(MOVES)}"


@pytest.mark.parametrize(
    ("sweeps", "words"),
    [
        pytest.param([], "one or more", id="none"),
        pytest.param([STAYS, STAYS], "each with another rule", id="twice the same rule"),
        pytest.param([STAYS, made("alpha", 1, lrs=(0.001, 0.01, 0.2))], "differ", id="other learning rates"),
    ],
)
def test_sweeps_that_cannot_stand_side_by_side_are_refused(sweeps, words):
    with pytest.raises(ValueError, match=words):
        Valleys(sweeps)
