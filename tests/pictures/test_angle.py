"""Angle trains for real at each new place, never twice at the same, and draws and says what came of it."""

import re
from types import SimpleNamespace

from data.make_angle import TASKS, task_results
from lora_teach.bases import accuracy, load_digit_net
from lora_teach.datasets import digits
from lora_teach.live import explore
from lora_teach.measure.results import load_result
from lora_teach.measure.retraining import Retrained, retrain
from lora_teach.measure.spectrum import truncate
from lora_teach.pictures.angle import numbers as measure
from lora_teach.pictures.angle import view as view_module
from lora_teach.pictures.angle.numbers import FULL_LR, changed
from lora_teach.pictures.angle.view import GHOSTS, SAMPLES, Angle, Result, draw_tasks, strip
from lora_teach.plots.style import settle

import numpy as np
import pytest
import torch

BLACK = digits.inverted()


@pytest.fixture
def trained(monkeypatch):
    """Runs that cost nothing, each of another accuracy; the list of what was asked for."""
    calls = []

    def quick(split, rank=None, **options):
        calls.append((rank, options.get("alpha")))
        return Retrained(load_digit_net(), [2.0, 1.0, 0.01 * len(calls)], len(calls) / 100, False)

    monkeypatch.setattr(measure, "retrain", quick)
    return calls


def explorer(guess=None):
    """As in the notebook, without the small multiples."""
    return explore(Angle(guess), static_figure=None)


def ends(line):
    return line.get_xydata().tolist()


@pytest.mark.parametrize(
    ("rank", "angle", "alpha", "paper"), [(1, 30, "8", "white"), (4, 90, "32", "white"), (16, 0, "2", "black")]
)
def test_the_sentence_tells_what_training_by_hand_comes_to(rank, angle, alpha, paper):
    sentence = Angle().move(rank=rank, angle=angle, alpha=alpha, paper=paper)
    split = digits.rotated(angle) if paper == "white" else BLACK
    lora, full = retrain(split, rank, alpha=int(alpha)), retrain(split, lr=FULL_LR)
    shares = [lora.accuracy, accuracy(load_digit_net(), *split.test), full.accuracy]
    said = [int(number) for number in re.findall(r"(\d+) %", sentence)]
    assert said == [round(100 * share) for share in shares]
    assert f"LoRA trained {rank * (64 + 128 + 128 + 128):,} numbers, full fine-tuning 26,122." in sentence
    assert f"α = {alpha}, {angle}°{' on black paper' if paper == 'black' else ''}:" in sentence


def test_the_picture_shows_the_digits_and_how_they_are_read():
    view = Angle()
    view.move(rank=4, angle=30)
    x, y = digits.rotated(30).test
    shown = view.tiles.get_array()  # (53, 8), one below the other
    assert shown.shape == (9 * SAMPLES - 1, 8)
    for place in range(SAMPLES):
        assert torch.equal(torch.tensor(shown[9 * place : 9 * place + 8].data).float(), x[place].reshape(8, 8))
    models = {"base": load_digit_net(), "LoRA": retrain(digits.rotated(30), 4, alpha=8).model}
    for who, model in models.items():
        with torch.no_grad():
            read = model(x[:SAMPLES]).argmax(-1).tolist()
        wrong = [f"{one} ✗" if one != truth else f"{one}" for one, truth in zip(read, y.tolist(), strict=False)]
        assert [text.get_text() for text in view.read[who]] == wrong
    assert [text.get_text() for text in view.read["truth"]] == [str(one) for one in y[:SAMPLES].tolist()]


def test_a_new_rank_trains_once_a_new_angle_twice_and_going_back_nothing(trained):
    made = explorer()
    assert trained == [(4, 8.0), (None, None)]
    made.move(rank=8)
    made.move(alpha="32")
    assert trained[2:] == [(8, 8.0), (8, 32.0)]
    made.move(angle=60)
    made.move(paper="black")
    assert trained[4:] == [(8, 32.0), (None, None)] * 2
    count, sentence = len(trained), made.sentence
    for back in ({"paper": "white"}, {"angle": 30}, {"alpha": "8"}, {"rank": 4}):
        made.move(**back)
    assert made.move(rank=8, alpha="32", angle=60, paper="black") == sentence
    assert len(trained) == count


def test_earlier_moves_stay_as_ghosts_the_newest_six_each_once(trained):
    made = explorer()
    for rank in (1, 2, 8, 16, 32, 64, 32, 1):
        made.move(rank=rank)
    drawn = made.view
    losses = {rank: made.view.run(rank, 8.0, 30, "white", 200) for rank in (32, 64, 16, 8, 2, 4)}
    assert ends(drawn.dots["ghost"]) == [[rank, 100 * run.accuracy] for rank, run in losses.items()]
    assert ends(drawn.dots["lora"]) == [[1, 100 * made.view.run(1, 8.0, 30, "white", 200).accuracy]]
    assert len(drawn.ghosts) == GHOSTS == 6 and all(len(ends(curve)) == 3 for curve in drawn.ghosts)
    before = ends(drawn.dots["ghost"])
    made.view.move(**made.values)  # drawing the same place again is no move
    assert ends(drawn.dots["ghost"]) == before


def test_marks_of_other_digits_do_not_stay_beside_these_lines(trained):
    made = explorer()
    dots, ghosts = made.view.dots["ghost"], made.view.ghosts
    for rank in (1, 8):
        made.move(rank=rank)
    assert [rank for rank, _ in ends(dots)] == [1, 4]
    for other in ({"angle": 60}, {"paper": "black"}):
        made.move(**other)
        assert not ends(dots) and not any(map(ends, ghosts))
    made.move(rank=2)
    assert [rank for rank, _ in ends(dots)] == [8]  # on black paper, at 60°
    made.move(rank=4, angle=30, paper="white")
    assert [rank for rank, _ in ends(dots)] == [8, 1]  # back again, so are the marks
    made.move(alpha="32")
    assert [rank for rank, _ in ends(dots)] == [4, 8, 1]  # another alpha is the same task


def test_the_small_multiples_train_nothing_and_a_move_does(trained):
    view = Angle()
    view.static_figure()
    assert trained == []
    view.move(rank=4, angle=30)
    assert trained == [(4, 8.0), (None, None)]


def test_the_guess_is_shown_at_30_degrees_and_said_at_rank_1(trained):
    made = explorer(guess=60)
    mark = made.view.mark
    assert ends(mark) == [[1, 60]] and mark.get_visible() and "guess" not in made.sentence
    assert made.move(rank=1).endswith("Your guess: 60 %.")
    for away in ({"angle": 40}, {"alpha": "2"}, {"paper": "black"}):
        assert "guess" not in made.move(**away) and not mark.get_visible()
        made.move(angle=30, alpha="8", paper="white")
        assert mark.get_visible()
    assert explorer().view.mark is None


def test_a_run_that_blew_up_says_so(monkeypatch):
    monkeypatch.setattr(measure, "retrain", lambda *a, **b: Retrained(load_digit_net(), [2.0, 9.0], 0.1, True))
    assert "30°: it blew up after step 2, and 10 % of the test digits are read right" in Angle().move(rank=4, angle=30)


def test_black_paper_is_the_inverse_and_other_paper_is_refused():
    assert torch.equal(changed(0, "black").test[0], 1 - changed(0).test[0])
    assert (changed(0, "black").test[0] - BLACK.test[0]).abs().max() < 1e-6
    with pytest.raises(ValueError, match="white and black"):
        changed(30, "grey")


@pytest.mark.parametrize("task", [(30, "white"), (90, "white"), (0, "black")], ids=str)
def test_full_fine_tuning_trains_at_a_learning_rate_that_suits_it(task):
    split = changed(*task)
    others = [retrain(split, lr=lr).accuracy for lr in (0.0018, 0.01, 0.018)]
    assert retrain(split, lr=FULL_LR).accuracy > max(others) - 0.06


def test_the_small_multiples_carry_the_lesson():
    view = Angle()
    said = view.static_figure().sentence
    listed = [[int(share) for share in part.split(", ")] for part in re.findall(r"((?:\d+, )+\d+) %", said)]
    turned, quarter, black, longer = listed
    for angle, (base, one, four, _, full) in ((30, turned), (90, quarter)):
        assert base == round(100 * accuracy(view.base, *digits.rotated(angle).test))
        assert base < one < four + 1 and min(four, full) > 85
    assert quarter[1] + 5 < turned[1]  # rank 1 does less for a quarter turn
    assert max(black[1:4]) < 50 < 80 < black[4]
    assert longer[0] < 50 < 70 < min(longer[1:])


def test_a_longer_run_begins_as_the_short_one():
    view = Angle()
    short, long = (view.run(4, 8.0, 0, "black", steps).loss for steps in (200, 1000))
    assert long[:200] == short and len(long) == 1000  # one run, looked at twice


@pytest.mark.parametrize("title", ["Turned by 30°", "Turned by 90°"])
def test_what_the_small_multiples_show_is_what_a_slider_trains(title):
    """The file's numbers and those of this machine: a few of the 300 test digits may fall on another side."""
    result = load_result("angle")
    settings, found = result["settings"], result["results"][title]
    angle, paper, lengths = TASKS[title]
    assert settings["tasks"][title] == [angle, paper, list(lengths)]
    view = Angle(seed=settings["seeds"][1])
    for rank in (1, None):
        run = view.run(rank, rank and settings["alpha"], angle, paper, lengths[-1])
        kept = found["contenders"]["full" if rank is None else str(rank)]
        assert run.accuracy == pytest.approx(kept["accuracies"][-1][1], abs=0.03)


def test_a_tasks_results_are_means_of_blocks_and_a_share_a_seed():
    found = task_results(30, "white", (10, 20), seeds=(0, 1), ranks=(2,))
    split = digits.rotated(30)
    runs = [retrain(split, 2, alpha=8, steps=20, seed=seed) for seed in (0, 1)]
    entry = found["contenders"]["2"]
    assert list(found["contenders"]) == ["2", "full"]
    assert found["base"] == accuracy(load_digit_net(), *split.test)
    assert entry["accuracies"][1] == [run.accuracy for run in runs] and len(entry["accuracies"]) == 2
    assert entry["losses"][1] == pytest.approx(sum(sum(run.loss[10:]) for run in runs) / 20)
    assert found["contenders"]["full"]["accuracies"][0][0] == retrain(split, lr=FULL_LR, steps=10).accuracy


@pytest.mark.parametrize("seed", [1, 2])
def test_on_black_paper_low_rank_fails_on_other_seeds_too(seed):
    short = [retrain(BLACK, rank, alpha=8, seed=seed).accuracy for rank in (1, 4, 16)]
    assert max(short) < 0.5 < 0.8 < retrain(BLACK, lr=FULL_LR, seed=seed).accuracy
    assert retrain(BLACK, 1, alpha=8, seed=seed, steps=1000).accuracy < 0.5
    assert retrain(BLACK, 4, alpha=8, seed=seed, steps=1000).accuracy > 0.7


def test_the_exact_cure_of_black_paper_has_full_rank_and_rank_8_of_it_is_enough():
    """W x + b = −W (1 − x) + W 1 + b; a pixel that is always paper stands for the constant 1."""
    base = load_digit_net()
    weight = base.hidden1.weight.detach().clone()
    always = (BLACK.train[0] == 1).all(0).nonzero()[0]
    cure = -2 * weight
    cure[:, always] += weight.sum(1, keepdim=True)
    assert torch.linalg.matrix_rank(cure) == 64
    read = {}
    for rank in (4, 8, 64):
        base.hidden1.weight.data = weight + truncate(cure, rank)
        read[rank] = accuracy(base, *BLACK.test)
    assert read[64] == accuracy(load_digit_net(), *digits.upright().test)
    assert read[4] < 0.3 < 0.88 < read[8]


TILES = np.arange(3 * 64).reshape(3, 8, 8) / 192
READ = {"truth": [3, 7, 8], "base": [3, 1, 8], "LoRA": [3, 7, 0], "full": [3, 7, 8]}


def shown(monkeypatch, earlier=(), loss=20):
    """The view after moves to ranks ``earlier`` and then 2, with made-up digits and runs; α and angle as guessed."""
    runs = {1: ([4.0] * 20, 0.25), 2: ([2.0] * loss, 0.9), 4: ([3.0] * 20, 0.5), None: ([1.0] * loss, 0.95)}
    monkeypatch.setattr(view_module, "SAMPLES", 3)
    view = Angle()
    split = SimpleNamespace(test=(torch.tensor(TILES).reshape(3, 64), torch.tensor(READ["truth"])))
    view.task = lambda angle, paper: (split, 0.4, READ["base"])
    view.run = lambda rank, *place: Result(*runs[rank], READ["full" if rank is None else "LoRA"], 1, False)
    for rank in (*earlier, 2):
        view.move(rank=rank, angle=30)
    return view


@pytest.mark.parametrize("down", [False, True])
def test_the_digits_lie_side_by_side_or_below_each_other_unturned(down):
    laid = strip(TILES, down)
    assert laid.shape == ((26, 8) if down else (8, 26))
    for place, tile in enumerate(TILES):
        part = slice(9 * place, 9 * place + 8)
        assert np.array_equal(laid[part] if down else laid[:, part], tile)
    assert np.isnan(laid).sum() == 2 * 8


def test_a_misread_digit_has_another_colour_and_a_cross(monkeypatch):
    drawn = shown(monkeypatch)
    texts = {who: [text.get_text() for text in row] for who, row in drawn.read.items()}
    assert texts == {"truth": ["3", "7", "8"], "base": ["3", "1 ✗", "8"], "LoRA": ["3", "7", "0 ✗"], "full": [*"378"]}
    assert drawn.read["base"][1].get_color() != drawn.read["base"][0].get_color()


def test_curves_levels_and_dots_stand_at_their_numbers(monkeypatch):
    drawn = shown(monkeypatch, earlier=[1, 4])
    assert ends(drawn.dots["lora"]) == [[2, 90]] and ends(drawn.dots["ghost"]) == [[4, 50], [1, 25]]
    assert [level.get_ydata()[0] for level in drawn.levels.values()] == pytest.approx([95, 40])
    assert ends(drawn.curves["lora"])[-1] == [20, 2] and ends(drawn.curves["full"])[0] == [1, 1]
    assert [len(ends(curve)) for curve in drawn.ghosts] == [20, 20, 0, 0, 0, 0]
    drawn = shown(monkeypatch, loss=0)
    assert not any(map(ends, [*drawn.ghosts, drawn.dots["ghost"], drawn.curves["lora"]]))


def test_full_fine_tuning_and_lora_differ_by_more_than_colour():
    drawn = Angle()
    assert drawn.curves["full"].get_linestyle() != drawn.curves["lora"].get_linestyle()
    labels = [text.get_text() for text in drawn.picture.figure.legends[0].get_texts()]
    assert labels == ["LoRA now", "full fine-tuning", "earlier moves", "before"]


@pytest.mark.parametrize(("guess", "error"), [("60", TypeError), (float("nan"), ValueError), (101, ValueError)])
def test_another_guess_is_refused_with_a_cure(guess, error):
    with pytest.raises(error, match="Give a percentage from 0 to 100, or None"):
        Angle(guess)


def test_the_small_multiples_fill_the_last_run_and_leave_shorter_ones_hollow():
    losses = {one: [1.0] * 40 for one in (1, 2, 4, None)}
    accuracies = {1: [0.1, 0.3], 2: [0.2, 0.4], 4: [0.6, 0.9], None: [0.8, 0.95]}
    tasks = {"first": (TILES, 0.05, losses, {one: shares[-1:] for one, shares in accuracies.items()})}
    tasks["second"] = TILES, 0.05, losses, accuracies
    made = draw_tasks(tasks, [1, 2, 4], guess=60, block=5)
    settle(made)
    assert [x for x, _ in ends(made.axes[2].lines[0])][:3] == [2.5, 7.5, 12.5]  # the middles of the blocks
    first, second = made.axes[4], made.axes[5]
    marks = [(ends(line)[0], line.get_fillstyle()) for line in second.lines if len(line.get_xdata()) == 1]
    assert marks == [([0, 5], "full")] + [
        ([place, pytest.approx(100 * share)], fill)
        for place, one in enumerate(accuracies, start=1)
        for share, fill in zip(accuracies[one], ("none", "full"), strict=True)
    ]
    numbers = [text.get_text() for text in second.texts]
    assert numbers[:5] == ["5 %", "30 %", "40 %", "90 %", "95 %"] and numbers[-1].startswith("hollow")
    assert [text.get_text() for text in first.texts][-1] == "your guess"
    assert made.axes[3].get_xlim() == (0, 200)
    assert [axes.get_ylabel() for axes in made.axes[2:4]] == ["loss (nats a digit)", ""]


@pytest.mark.parametrize(("guess", "side"), [(20, "bottom"), (95, "top")])
def test_the_share_that_was_guessed_is_written_on_the_side_away_from_the_guess(guess, side):
    accuracies = {1: [0.9], 2: [0.9], 4: [0.9], None: [0.9]}
    made = draw_tasks({"only": (TILES, 0.05, {one: [1.0] for one in accuracies}, accuracies)}, [1, 2, 4], guess)
    assert [text.get_va() for text in made.axes[2].texts if text.get_text() == "90 %"] == [side, "top", "top", "top"]
