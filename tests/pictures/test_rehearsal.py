"""Rehearsal: the mixture is what it says, and picture and sentence are what was measured."""

from collections import Counter

from lora_teach.bases import load_name_gpt
from lora_teach.datasets import names
from lora_teach.live import explore
from lora_teach.measure.results import load_result
from lora_teach.pictures.new_data import numbers
from lora_teach.pictures.rehearsal import Rehearsal
from lora_teach.pictures.rehearsal.numbers import mixed_batches, rehearse
from tests.plots.small import TURN_IT_DOWN

import numpy as np
import pytest

RESULT = {
    "settings": {"new": "Zulu", "base": "English"},
    "results": {
        "start": {"base": [3.0, 3.3, 2.1]},
        "rehearsal": {
            "0.0": [[3.8, 2.0, 3.7], [3.8, 2.0, 3.9]],
            "0.25": [[3.2, 2.1, 2.5], [3.2, 2.1, 2.7]],
            "0.5": [[3.1, 2.2, 2.3], [3.1, 2.2, 2.3]],
        },
    },
}
NEW, OLD = ["aaa", "bbb", "ccc"], ["xxx", "yyy"]


def seen(batches):
    return Counter(name for inputs, _ in batches for name in names.decode(inputs[:, 1:]))


@pytest.mark.parametrize(("share", "steps"), [(0.0, 12), (0.25, 16), (0.5, 24)])
def test_as_many_new_names_are_seen_at_every_share(share, steps):
    batches = mixed_batches(NEW, OLD, share, 12, batch_size=4)
    counts = seen(batches)
    assert len(batches) == steps and sum(counts[name] for name in NEW) == 48
    assert [counts[name] for name in NEW] == [16] * 3
    assert sum(counts[name] for name in OLD) == pytest.approx(share * sum(counts.values()))


def test_old_names_are_spread_over_the_batches_by_seed():
    old = [
        sum(name in OLD for name in names.decode(inputs[:, 1:])) for inputs, _ in mixed_batches(NEW, OLD, 0.5, 20, 8)
    ]
    assert len(set(old)) > 1 and min(old) > 0
    same, other = (seen(mixed_batches(NEW, OLD, 0.5, 20, 8, seed=seed)) for seed in (0, 1))
    assert same == seen(mixed_batches(NEW, OLD, 0.5, 20, 8)) != other


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_without_place_for_new_names_is_refused(share):
    with pytest.raises(ValueError, match="leaves no place for new ones"):
        mixed_batches(NEW, OLD, share, 5)


def test_a_run_is_measured_on_all_three_lists(monkeypatch):
    asked = []
    monkeypatch.setattr(numbers, "evaluate", lambda model, test: asked.append(test) or float(len(asked)))
    settings = {"old": "Finnish", "new": "Zulu", "base": "English", "rank": 2, "lr": 0.01, "steps": 2, "batch_size": 8}
    base = load_name_gpt()
    assert rehearse(base, 0.5, 0, settings) == [1.0, 2.0, 3.0]
    assert asked == [names.load(language).test for language in ("Finnish", "Zulu", "English")]
    assert not any(module._forward_hooks for module in base.modules())


def test_sentence_has_the_losses_the_steps_and_the_dial():
    explorer = explore(Rehearsal(2.9, result=RESULT, dial=TURN_IT_DOWN))
    assert explorer.values == {"share": 0.25}
    assert "25% English among the names, in 1.33 times the steps: Zulu 2.10, English 2.60" in explorer.sentence
    assert (
        "Turned down to the same English the adapter costs 2.47." in explorer.sentence
    )  # between 3.3, 2.0 and 2.2, 2.8
    assert "Your guess for English: 2.90." in explorer.sentence
    said = explorer.move(share=0.0)
    assert "times the steps" not in said and "guess" not in said
    assert "25%: Zulu 2.10, English 2.60" in explorer.view.static_figure().sentence


def test_the_plane_has_shares_seeds_dial_guess_and_your_run():
    view = Rehearsal(2.9, (2.05, 2.75), RESULT, TURN_IT_DOWN)
    axes = view.picture.figure.axes[0]
    lines = [np.column_stack(line.get_data()).tolist() for line in axes.lines if line.get_linestyle() != "None"]
    assert any(np.allclose(line, [[2.0, 3.8], [2.1, 2.6], [2.2, 2.3]]) for line in lines if len(line) == 3)
    marks = {line.get_marker(): np.ravel(line.get_data()).tolist() for line in axes.lines if line.get_marker() in "Dx"}
    assert marks["x"] == [2.05, 2.75] and marks["D"] == pytest.approx([2.1, 2.9])
    view.move(0.5)
    assert np.ravel(view.dot.get_data()).tolist() == pytest.approx([2.2, 2.3])


def test_in_what_was_measured_a_tenth_buys_back_half_and_beats_the_dial():
    view = Rehearsal()
    (new, lost), (after, kept) = view.losses(0.0), view.losses(0.1)
    assert 0.4 < (lost - kept) / (lost - view.base[1]) < 0.6 and after - new < 0.05
    for share in (0.1, 0.25, 0.5):
        new, own = view.losses(share)
        assert view.dial_at(own) > new + 0.05
    runs = load_result("new_data")["results"]["rehearsal"]
    assert all(len(seeds) == 3 for seeds in runs.values())
