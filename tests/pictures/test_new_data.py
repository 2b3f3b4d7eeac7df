"""New data arrives: each way trains what its name says, and picture and sentence are what was measured."""

import asyncio

from lora_teach import LoRAModel
from lora_teach.bases import load_language_adapter, load_name_gpt
from lora_teach.datasets import names
from lora_teach.live import explore
from lora_teach.measure.results import load_result
from lora_teach.pictures.new_data import NewData, go_on_live, numbers
from lora_teach.pictures.new_data.live import Curves, Looks
from lora_teach.pictures.new_data.numbers import (
    BESIDE,
    BOTH,
    MERGED,
    ON,
    WAYS,
    go_on,
    looks,
    planned_steps,
    ready,
    start_of,
    training_names,
)

import numpy as np
import pytest
import torch

QUICK = {"old": "Finnish", "new": "Zulu", "base": "English", "rank": 2, "lr": 0.01, "steps": 4, "looks": 2,
         "batch_size": 8}  # fmt: skip
ENDS = {ON: [[3.6, 2.0, 3.8], [3.8, 2.0, 3.6]], BOTH: [[2.2, 2.2, 3.0], [2.0, 2.2, 3.0]]}  # one a seed
BEGIN, MIDDLE = [3.0, 3.3, 2.1], [2.4, 2.5, 2.7]
RESULT = {
    "settings": {"old": "Finnish", "new": "Zulu", "base": "English", "looks": 2},
    "results": {
        "start": {"base": BEGIN, "adapter": [2.0, 3.5, 2.8]},
        "ways": {way: [[BEGIN, MIDDLE, end] for end in ends] for way, ends in ENDS.items()},
    },
}


@pytest.fixture(autouse=True)
def few_test_names(monkeypatch):
    """Losses over a handful of names, since these tests are not about the losses."""
    whole = numbers.evaluate
    monkeypatch.setattr(numbers, "evaluate", lambda model, test: whole(model, test[:16]))


@pytest.fixture(scope="module")
def base():
    return load_name_gpt()


def logits(model):
    return model(names.encode(["aino", "themba"])[0])


def test_each_way_starts_where_its_name_says(base):
    finnish = logits(load_language_adapter(load_name_gpt(), "Finnish"))
    starts = {way: ready(base, way, 0, QUICK) for way in WAYS}
    assert torch.equal(logits(starts[ON]), finnish)
    assert torch.allclose(logits(starts[MERGED]), finnish, atol=1e-4)
    for way in (BESIDE, BOTH):
        assert torch.equal(logits(starts[way]), logits(base))
    assert starts[ON].adapter_names == ["Finnish"] and all(starts[way].adapter_names == ["default"] for way in WAYS[1:])
    assert all(isinstance(model, LoRAModel) and model.count()[0] > 0 for model in starts.values())
    assert not any(module._forward_hooks for module in base.modules())


def test_new_names_are_seen_equally_often(base):
    assert training_names(ON, QUICK) == names.load("Zulu").train
    both = training_names(BOTH, QUICK)
    assert both == names.load("Finnish").train + names.load("Zulu").train
    assert planned_steps(BOTH, QUICK) == round(4 * len(both) / len(names.load("Zulu").train))
    assert planned_steps(MERGED, QUICK) == 4


def test_a_run_is_looked_at_at_its_start_and_its_end(base):
    run = go_on(base, ON, 0, QUICK)
    assert len(run) == 3 and run == list(looks(base, ON, 0, QUICK))
    assert run[0] == start_of(base, QUICK)["adapter"] != run[-1]
    assert start_of(base, QUICK)["base"] == go_on(base, BESIDE, 0, QUICK)[0]


def test_sentence_and_dots_are_the_means_of_the_seeds():
    explorer = explore(NewData(2.5, RESULT))
    assert explorer.values == {"way": ON, "done": 100}
    assert "Finnish 3.70, Zulu 2.00, English 3.70" in explorer.sentence
    assert "0.70 worse than the base without any adapter. Your guess for Finnish: 2.50." in explorer.sentence
    said = explorer.move(way=BOTH, done=50)
    assert "Finnish 2.40" in said and "0.60 better" in said and "guess" not in said
    assert [np.ravel(dot.get_data()).tolist() for dot in explorer.view.dots] == [[50, 2.4], [50, 2.5], [50, 2.7]]
    assert explorer.view.chosen.get_ydata() == [1] and not explorer.view.mark.get_visible()
    still = explorer.view.static_figure().sentence
    assert "train it on 3.70, a new one on both lists 2.10" in still and "it was 2.00" in still


def test_the_live_run_takes_the_way_and_tells_the_losses(base, capsys):
    seen = asyncio.run(go_on_live(BESIDE, steps=4, looks=2, rank=2, batch_size=8))
    assert seen.losses == go_on(base, BESIDE, 0, QUICK)
    curves = Curves(QUICK, BESIDE, 2.5)
    curves.update(seen)
    assert list(curves.lines[0].get_data()[0]) == [0, 50, 100]
    first, last = seen.losses[0][0], seen.losses[-1][0]
    assert f"Finnish {first:.2f} → {last:.2f}" in curves.sentence(seen) and "2.50" in curves.sentence(seen)
    assert len(Looks()) == 0


@pytest.mark.parametrize(("given", "said"), [({"way": "merge"}, "way='merge'"), ({"new": "Elvish"}, "'Elvish'")])
def test_a_live_run_refuses_what_it_does_not_know(given, said):
    with pytest.raises(ValueError, match=said):
        asyncio.run(go_on_live(**given))


def test_in_what_was_measured_the_three_usual_answers_are_one():
    results = load_result("new_data")["results"]
    ends = {way: np.array(runs)[:, -1] for way, runs in results["ways"].items()}  # (seeds, 3)
    base = results["start"]["base"][0]
    assert all((ends[way][:, 0] > base + 0.4).all() for way in (ON, MERGED, BESIDE))
    assert (ends[BOTH][:, 0] < base - 0.7).all() and (ends[BOTH][:, 2] < ends[ON][:, 2].min()).all()
