"""How many examples: the curve, the answers beside it and the sentence are what was measured."""

from lora_teach.bases.registry import load_base
from lora_teach.live import explore
from lora_teach.measure.results import load_result
from lora_teach.pictures.how_many_examples import HowManyExamples
from lora_teach.pictures.how_many_examples.numbers import answers_after, distinct, drawn

import numpy as np

RESULT = {
    "results": {
        "base": 0.0,
        "asked": 2,
        "counts": {
            "10": {"lr": 0.01, "test": [0.0, 0.5], "shown": [["emma", "nath", "nath"], ["otto", "x", "noth"]]},
            "100": {"lr": 0.003, "test": [0.5, 1.0], "shown": [["emma", "nath", "nath"], ["otto", "noth", "noth"]]},
        },
    }
}


def test_the_sentence_has_the_mean_and_the_seeds():
    explorer = explore(HowManyExamples(40, result=RESULT))
    assert explorer.values == {"examples": 100}
    assert (
        "100 examples: 75% of 2 unseen names right (seeds 50%, 100%), at a learning rate of 0.003." in explorer.sentence
    )
    assert "Your guess: 40 %." in explorer.sentence
    assert "25%" in explorer.move(examples=10) and "guess" not in explorer.move(examples=10)
    assert "25% after 10, 75% after 100" in explorer.view.static_figure().sentence


def test_curve_dot_and_guess_stand_where_they_should():
    view = HowManyExamples(40, (50, 0.6), RESULT)
    axes = view.picture.figure.axes[0]
    lines = [tuple(map(tuple, line.get_data())) for line in axes.lines]
    assert ((10, 100), (25.0, 75.0)) in lines
    marks = {line.get_marker(): np.ravel(line.get_data()).tolist() for line in axes.lines if line.get_marker() in "Dx"}
    assert marks == {"D": [100, 40], "x": [50, 60]}
    view.move(10)
    assert np.ravel(view.dot.get_data()).tolist() == [10, 25]


def test_right_and_wrong_answers_are_told_apart(monkeypatch):
    view, shown = HowManyExamples(result=RESULT), []
    monkeypatch.setattr(view.board, "show", shown.extend)
    view.move(10)
    assert [(one.name, one.tastes) for one in shown] == [("emmanath", "----rrrr"), ("ottox", "----w")]


def test_a_larger_draw_has_all_of_a_smaller_one():
    examples = list(range(50))
    assert drawn(examples, 30, seed=1)[:10] == drawn(examples, 10, seed=1) != drawn(examples, 10, seed=2)


def test_each_prompt_once_in_their_order():
    assert distinct(["b", "a", "b", "c", "a"], str) == ["b", "a", "c"]


def test_answers_come_from_a_trained_copy():
    base = load_base("names")
    before = [parameter.clone() for parameter in base.model.parameters()]
    pairs = [("emma", "nath"), ("otto", "noth")]
    graded = answers_after(base, pairs, pairs, rank=4, lr=0.01, steps=25, batch_size=2, seed=0)
    assert graded == [("emma", "nath", "nath"), ("otto", "noth", "noth")]
    assert all(map(lambda a, b: a.equal(b), base.model.parameters(), before))


def test_more_examples_are_better_in_what_was_measured():
    counts = load_result("examples")["results"]["counts"]
    tests = [entry["test"] for entry in counts.values()]
    assert all(max(few) < min(more) for few, more in zip(tests, tests[1:]))  # noqa: B905
