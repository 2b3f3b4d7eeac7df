"""The negative control: as large as what was learned in every layer, of its rank, and in a direction of chance."""

from dataclasses import replace

from data.make_control import SETTINGS, control_run, moved_at_random
from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.intruders import intruder_dimensions
from lora_teach.measure.learned import matrices
from lora_teach.measure.results import load_result

import pytest
import torch


@pytest.fixture(scope="module")
def base():
    return load_name_gpt()


def test_each_layer_moves_as_far_as_told_at_the_rank_told_and_nothing_else_moves(base):
    shares = [0.1 + 0.05 * place for place in range(18)]
    moved, before = moved_at_random(base, shares, rank=3, seed=1), matrices(base)
    for (path, weight), share in zip(matrices(moved).items(), shares, strict=True):
        delta = weight - before[path]
        assert (delta.norm() / before[path].norm()).item() == pytest.approx(share, rel=1e-4)
        assert torch.linalg.matrix_rank(delta, rtol=1e-4).item() == 3
    kept = {name for name, one in moved.named_parameters() if one.equal(dict(base.named_parameters())[name])}
    assert len(kept) == len(list(base.parameters())) - 18
    again, other = (moved_at_random(base, shares, 3, seed) for seed in (1, 2))
    path = "blocks.0.attention.q_proj"
    assert matrices(again)[path].equal(matrices(moved)[path]) and not matrices(other)[path].equal(matrices(moved)[path])


def test_a_run_is_looked_at_as_the_learned_ones_are(base, monkeypatch):
    whole = names.load

    def few(language):
        split = whole(language)
        return replace(split, test=split.test[:20])

    monkeypatch.setattr(names, "load", few)
    run = {"relative": [0.5] * 18, "seed": 0}
    found = control_run(base, run, 2, "Zulu", SETTINGS | {"factors": [0.0, 1.0]})
    moved, before = moved_at_random(base, run["relative"], 2, 0), matrices(base)
    lists = few("Zulu").test, few("English").test
    losses = [evaluate(moved, some) for some in lists]
    assert found["loss"] == losses and found["relative"] == pytest.approx([0.5] * 18, rel=1e-4)
    assert found["intruders shrunk"][-1] == pytest.approx(losses, abs=1e-4)
    assert list(found["update shrunk"][-1]) == pytest.approx(losses, abs=1e-4)
    assert list(found["update shrunk"][0]) == pytest.approx([evaluate(base, some) for some in lists], abs=1e-4)
    counts = [len(intruder_dimensions(before[path], weight)) for path, weight in matrices(moved).items()]
    assert found["intruders"]["0.5"] == counts and found["directions"] == [2] * 18


def test_the_file_is_what_the_command_makes_and_stands_beside_every_learned_run():
    result, learned = load_result("control"), load_result("learned")
    assert result["settings"] == SETTINGS
    for key in ("factors", "epsilon", "k"):
        assert SETTINGS[key] == learned["settings"][key]
    for language, entry in learned["results"].items():
        assert list(result["results"][language]) == list(entry["contenders"])
        for name, contender in entry["contenders"].items():
            drawn = result["results"][language][name]["runs"]
            for run, control in zip(contender["runs"], drawn, strict=True):
                assert control["seed"] == run["seed"]
                assert control["relative"] == pytest.approx(run["relative"], abs=2e-4)
                assert set(control) == set(run) - {"best_step", "matched"}
