"""Favourite: without a penalty the names collapse, with one they stay names; the picture shows what was written."""

from lora_teach.live import explore
from lora_teach.measure.rewarding import sounds
from lora_teach.pictures.favourite import Favourite
from lora_teach.pictures.favourite.numbers import EVERY, NAMES, SHOWN, UPDATES

import numpy as np
import pytest


@pytest.fixture(scope="module")
def explorer():
    return explore(Favourite(9))


def test_without_a_penalty_the_judge_gets_its_favourite_and_with_one_the_names_stay(explorer):
    free, held = explorer.view.run(0.0), explorer.view.run(0.1)
    assert free.end.reward > 0.9 and free.end.distinct < 0.5 and free.end.kl > 5
    assert held.end.distinct > 0.8 and held.end.kl < 5 and held.end.reward > free.scores[0].reward
    assert free.written[0] == held.written[0] and free.updates == list(range(0, UPDATES + 1, EVERY))
    likes = sounds()
    last = free.written[-1]
    assert len(last) == SHOWN and sum(map(likes, last)) >= 10 and len(set(last)) <= 6
    assert len(free.scores) == UPDATES


def test_the_sentence_and_the_curves_are_the_runs(explorer):
    run = explorer.view.run(0.0)
    sentence = explorer.move(penalty=0.0, update=UPDATES)
    end = run.end
    assert f"the judge likes {end.reward:.0%} of the names; {round(end.distinct * NAMES)} of {NAMES}" in sentence
    assert sentence.endswith("Your guess: 9 different names.")
    assert "guess" not in explorer.move(penalty=0.0, update=0) and "guess" not in explorer.move(
        penalty=0.1, update=UPDATES
    )
    curves = explorer.view.curves
    held = explorer.view.run(0.1)
    assert np.array_equal(curves["success"].get_ydata(), [score.reward for score in held.scores])
    assert np.array_equal(curves["distinct"].get_ydata(), [score.distinct for score in held.scores])


def test_each_tile_has_the_judge_whom_its_letter_pleases(explorer):
    run = explorer.view.run(0.0)
    tiles = explorer.view.tiles(run, UPDATES)
    assert [one.name for one in tiles] == run.written[-1]
    assert all(len(one.name) == len(one.tastes) for one in tiles)
    signs = "".join(one.tastes for one in tiles)
    assert signs.count("o") > signs.count("e")


def test_the_saved_picture_tells_how_both_runs_end(explorer):
    said = str(explorer.view.static_figure())
    for penalty in (0.0, 0.1):
        assert explorer.view.says(explorer.view.run(penalty), UPDATES) in said
