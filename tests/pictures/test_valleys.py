"""Valleys: what a bottom is, how they grow run by run, and what is drawn and said of them."""

import asyncio
import copy
import re
from itertools import islice
from math import inf

from lora_teach.datasets import digits
from lora_teach.live import explore, monitor
from lora_teach.live import watch as watching
from lora_teach.measure.retraining import Retrained, retrain
from lora_teach.pictures.valleys import numbers as measure
from lora_teach.pictures.valleys.numbers import (
    LEARNING_RATES,
    RANKS,
    Run,
    Sweep,
    coarse_to_fine,
    measure_valleys,
    spoken,
    valley_runs,
)
from lora_teach.pictures.valleys.view import (
    LOW,
    ROLES,
    TOP,
    Growing,
    TwoPanels,
    Valleys,
    depth,
    draw_rules,
    grow_valleys,
    roles,
)
from lora_teach.plots.style import settle
from tests.live.sweep import sweep as swept

import ipywidgets
import pytest

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
        lines = shown.drawing.panel.lines
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
    assert len(list(swept(explore(Valleys([sweep]), learning_rate=[0.001, 0.1])))) == 2


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
    panel = seen[0].drawing.panel
    top = panel.axes.get_ylim()[1]
    assert points(panel.beyond)[0] == (3.0, top) and panel.words.get_visible()
    assert "rank 1 at infinity (it blew up)" in Valleys([sweep]).move(rule="α/r, α = 8", learning_rate=3.0)


def test_the_sentence_of_a_grown_picture_names_the_bottoms():
    assert Growing(STAYS).sentence(STAYS) == (
        "α/r, α = 8: the bottoms lie at 0.01 (rank 1), 0.01 (rank 64): all at one place."
    )
    assert Growing(MOVES).sentence(MOVES) == (
        "Constant 1: the bottoms lie at 0.1 (rank 1), 0.001 (rank 64): a factor of 100 apart."
    )


def test_the_view_says_each_ranks_loss_at_the_learning_rate_and_which_is_worst_off():
    explorer = explore(Valleys([STAYS, MOVES]))
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
    view.move(rule="α/r, α = 8", learning_rate=0.1)
    assert points(view.here[0]) == [(0.1, 0), (0.1, 1)] and points(view.here[1]) == [(0, 0.1), (1, 0.1)]
    assert [points(ring) for ring in view.dots.values()] == [[(0.1, 0.8)], [(0.1, 2.0)]]
    assert [points(mark) for mark in view.bottoms.values()] == [[(1, 0.01)], [(64, 0.01)]]


def test_the_guess_is_about_the_last_rank_under_the_last_rule():
    view = Valleys([STAYS, MOVES], guess=0.02)
    right = view.here[1].axes
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert labels == ["your guess for rank 64,\nConstant 1"]
    assert any(line.get_marker() == "D" and points(line) == [(64, 0.02)] for line in right.lines)
    assert "guess" not in view.move(rule="α/r, α = 8", learning_rate=0.01)
    assert view.move(rule="Constant 1", learning_rate=0.01).endswith("Your guess for rank 64: 0.02.")


def test_the_small_multiples_tell_of_every_rule():
    said = Valleys([STAYS, MOVES]).static_figure().sentence
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


@pytest.mark.parametrize(("guess", "error"), [("0.01", TypeError), (float("nan"), ValueError), (-1, ValueError)])
def test_another_guess_is_refused_with_a_cure(guess, error):
    with pytest.raises(error, match="Give a learning rate"):
        Valleys([STAYS], guess)


TURNED = digits.rotated(30)


def one_rank(losses, lrs=(0.01, 0.018, 0.032)):
    made = Sweep(ranks=[4], lrs=lrs)
    for lr, loss in zip(lrs, losses, strict=False):
        made.add(Run(4, lr, loss))
    return made


def test_a_run_is_a_retraining_under_this_rule():
    runs = list(valley_runs("alpha", alpha=2, ranks=[1, 8], lrs=[0.01, 0.001], seed=3, steps=25))
    assert [run[:2] for run in runs] == [(1, 0.01), (8, 0.01), (1, 0.001), (8, 0.001)]
    for run in runs:
        again = retrain(TURNED, run.rank, lr=run.lr, steps=25, seed=3, scaling="alpha", alpha=2)
        assert run.loss == again.final_loss


def test_other_digits_are_used_when_they_are_given():
    (turned,) = valley_runs(ranks=[4], lrs=[0.01], steps=25)
    (upright,) = valley_runs(ranks=[4], lrs=[0.01], steps=25, digits=digits.upright())
    assert upright.loss < turned.loss / 2


@pytest.mark.parametrize("count", range(1, 14))
def test_coarse_to_fine_takes_each_value_once_and_middle_and_ends_first(count):
    order = coarse_to_fine(list(range(count)))
    assert sorted(order) == list(range(count))
    assert set(order[:3]) == {0, count // 2, count - 1}


def test_whoever_stops_early_has_three_points_of_every_valley():
    runs = islice(valley_runs(steps=1), 3 * len(RANKS))
    assert {(run.rank, run.lr) for run in runs} == {(rank, lr) for rank in RANKS for lr in (0.001, 0.01, 0.1)}


def test_the_bottom_is_where_a_run_and_its_neighbours_are_lowest_together():
    lucky = one_rank([0.5, 0.4, 0.07, 0.4, 0.09, 0.08, 0.09, 0.5, 0.9], LEARNING_RATES)
    assert lucky.bottom(4) == 0.018  # not 0.0032, which was a lucky run
    assert lucky.bottoms() == {4: 0.018} and lucky.spread() is None
    apart = one_rank([0.5, 0.06, 0.4, 0.09], (0.001, 0.003, 0.01, 0.03))
    assert apart.bottom(4) == 0.003  # more than a factor of 2 apart, nobody is a neighbour


def test_a_run_that_blew_up_is_no_bottom_and_spoils_its_neighbours():
    assert one_rank([0.4, 0.1, 0.3, inf, inf], (0.01, 0.018, 0.032, 0.056, 0.1)).bottom(4) == 0.018
    assert one_rank([0.4, 0.2, 0.1, inf, inf], (0.01, 0.018, 0.032, 0.056, 0.1)).bottom(4) == 0.018  # edge
    assert one_rank([inf, inf, inf]).bottom(4) is None


def test_no_bottom_is_known_before_all_runs_of_its_rank_have_ended():
    part = one_rank([0.3, 0.2])
    assert part.bottom(4) is None and part.bottoms() == {} and part.spread() is None
    assert len(part) == 2 and part.planned == 3
    assert part.line(4) == [(0.01, 0.3), (0.018, 0.2)] and part.line(64) == []


def test_the_spread_is_the_factor_between_the_outermost_bottoms():
    made = Sweep(ranks=[1, 4], lrs=[0.001, 0.01])
    for run in ((1, 0.001, 2.0), (1, 0.01, 1.0), (4, 0.001, 0.5), (4, 0.01, 2.0)):
        made.add(Run(*run))
    assert made.bottoms() == {1: 0.01, 4: 0.001} and made.spread() == pytest.approx(10)
    assert made.above_lowest(1, 0.001) == 2 and made.above_lowest(4, 0.01) == 4 and made.above_lowest(4, 0.001) == 1


def test_each_rule_has_a_name_with_its_number():
    assert Sweep().rule == "α/r, α = 8"
    assert Sweep("alpha/sqrt(r)", 4.0).rule == "α/√r, α = 4"
    assert Sweep("alpha", 0.01).rule == "constant 0.01"


def test_numbers_are_spoken_with_two_digits_and_without_powers_of_ten():
    assert [spoken(lr) for lr in LEARNING_RATES[:5]] == ["0.001", "0.0018", "0.0032", "0.0056", "0.01"]
    assert [spoken(factor) for factor in (1.0, 5.714, 9.96, 44.4, 10)] == ["1", "5.7", "10", "44", "10"]


def test_the_bottom_stays_under_alpha_over_r_and_moves_under_a_constant():
    """With the outer ranks alone, where the bottoms lie; on two seeds."""
    lrs = (0.0056, 0.01, 0.018, 0.032)
    for seed in (0, 1):
        stays = measure_valleys(ranks=(1, 64), lrs=lrs, seed=seed)
        moves = measure_valleys("alpha", alpha=1, ranks=(1, 64), lrs=lrs, seed=seed)
        assert stays.bottom(1) <= stays.bottom(64)
        assert moves.bottom(1) / moves.bottom(64) > 3
        assert moves.above_lowest(64, moves.bottom(1)) > 3  # rank 1's learning rate spoils rank 64
        assert stays.above_lowest(64, stays.bottom(1)) < 2.5


LOSSES = {1: {0.01: 0.5, 0.001: 1.0, 0.1: 0.8}, 64: {0.001: 0.4, 0.01: 0.1, 0.1: inf}}
BOTTOMS = {1: 0.01, 64: 0.001}


def test_each_rank_has_a_line_with_a_marker_of_its_own_and_a_mark_at_its_bottom():
    drawn = TwoPanels((1, 64), LRS)
    drawn.show("title", LOSSES, BOTTOMS)
    panel = drawn.panel
    assert points(panel.lines[1]) == [(0.001, 1.0), (0.01, 0.5), (0.1, 0.8)]
    assert points(panel.lines[64]) == [(0.001, 0.4), (0.01, 0.1), (0.1, TOP)]
    assert points(panel.beyond) == [(0.1, TOP)] and panel.words.get_visible()
    for rank, lr in BOTTOMS.items():
        assert points(panel.marks[rank])[0] == (lr, LOSSES[rank][lr])
        assert panel.marks[rank].get_marker() == panel.lines[rank].get_marker()
    assert panel.lines[1].get_marker() != panel.lines[64].get_marker()
    assert points(drawn.joined) == [(1, 0.01), (64, 0.001)]


def test_what_is_not_known_is_not_drawn():
    drawn = TwoPanels((1, 64), LRS)
    drawn.show("title", LOSSES, BOTTOMS, 0.1)
    drawn.show("title", {1: {0.01: 0.5}}, {})
    gone = [drawn.panel.lines[64], drawn.panel.beyond, *drawn.panel.marks.values(), *drawn.bottoms.values()]
    assert not any(map(points, [*gone, *drawn.dots.values(), drawn.joined]))
    assert not drawn.panel.words.get_visible() and not any(line.get_visible() for line in drawn.here)


@pytest.mark.parametrize("beyond", LRS)
def test_the_words_beside_a_run_that_blew_up_stay_inside_the_panel(beyond):
    drawn = TwoPanels((1, 64), LRS)
    drawn.show("title", {1: {beyond: inf}}, {})
    drawn.picture.pixels()
    words, panel = drawn.panel.words.get_window_extent(), drawn.panel.axes.bbox
    assert panel.x0 <= words.x0 and words.x1 <= panel.x1


def test_the_loss_axis_reaches_below_every_loss():
    assert depth(LOSSES) == LOW
    assert depth({1: {0.01: 0.005, 0.1: inf}}) == pytest.approx(0.0035)


def test_other_ranks_get_looks_of_their_own():
    looks = roles((1, 2, 8, 64))
    assert looks[1] == ROLES[1] and len(set(looks.values())) == 4


def test_all_rules_stand_on_one_scale_beside_all_bottoms():
    before = copy.deepcopy(LOSSES)
    made = draw_rules({"one": (LOSSES, BOTTOMS), "two": (LOSSES, {})}, (1, 64), LRS, guess=0.03)
    one, two, right = made.axes
    assert one.get_ylim() == two.get_ylim() and one.get_xlim() == two.get_xlim()
    assert [(0.001, 0.4)] == [point for line in one.lines for point in points(line)[:1] if point == (0.001, 0.4)][:1]
    assert any(points(line) == [(1, 0.01), (64, 0.001)] for line in right.lines)
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert labels == ["your guess for rank 64,\ntwo", "one", "two"]
    settle(made)
    assert before == LOSSES


def test_every_panel_keeps_its_room_when_a_layout_is_solved():
    made = draw_rules({"one": (LOSSES, BOTTOMS), "two": (LOSSES, BOTTOMS)}, (1, 64), LRS)
    settle(made)
    assert all(axes.get_position().width > 0.15 for axes in made.axes)
    drawn = TwoPanels((1, 64), LRS, guess=5.0)  # a guess far off its axis
    assert [axes.get_position().width > 0.25 for axes in drawn.picture.figure.axes] == [True, True]
