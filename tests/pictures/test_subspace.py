"""The picture of random subspaces says and draws what the file holds."""

from statistics import mean

from lora_teach.bases import load_digit_net, load_name_gpt
from lora_teach.measure.results import load_result
from lora_teach.measure.retraining import HIDDEN
from lora_teach.measure.tuning import count_trainable, trainable_copy
from lora_teach.pictures.subspace import Subspace, enough, lora_lines, subspace_lines
from lora_teach.pictures.subspace.numbers import A_RANK

import pytest


def points(line):
    return [tuple(map(float, point)) for point in zip(*line.get_data(), strict=True)]


def test_a_share_is_of_the_way_from_the_base_to_full_fine_tuning():
    entry = load_result("subspace")["results"]["digits"]["turned by 90°"]
    full, found = mean(entry["by size"]["full"]["test"]), entry["by size"]["64"]["test"]
    shares = [(one - entry["base"]) / (full - entry["base"]) for one in found]
    assert subspace_lines()["turned by 90°"][64] == pytest.approx(shares)


def test_d90_is_the_first_whose_mean_is_there():
    assert enough({4: [0.95, 0.8], 8: [0.9, 0.9], 16: [1.0]}) == 8 and enough({4: [0.5]}) is None


def test_lora_at_rank_1_trains_so_many_numbers():
    digits = count_trainable(trainable_copy(load_digit_net(), 1, target_modules=HIDDEN))
    assert A_RANK == {"digits": digits, "names": count_trainable(trainable_copy(load_name_gpt(), 1))}
    assert min(lora_lines()["turned by 30°"]) == 448


def test_moving_shows_the_task_and_says_its_seeds():
    view = Subspace()
    said = view.move(directions=64, task="inverted")
    line = subspace_lines()["inverted"]
    assert points(view.curves["random"]) == [(size, pytest.approx(mean(seeds))) for size, seeds in line.items()]
    assert points(view.dot) == [(64, pytest.approx(mean(line[64])))]
    assert f"90 % takes {enough(line):,}" in said and f"have {mean(line[64]):.0%} of" in said
    few = view.move(directions=8, task="Zulu names")
    assert "16 random directions" in few  # the nearest that was tried


def test_the_still_says_every_d90():
    lines, said = subspace_lines(), Subspace().static_figure().sentence
    for task, shown in (("turned by 30°", "Turned by 30°"), ("inverted", "Black paper"), ("Zulu names", "Zulu names")):
        assert f"{shown} {enough(lines[task]):,}" in said
    assert f"learned nothing: {enough(lines['turned by 30°, from scratch']):,}." in said
