"""The finished experiments in data/: they hold what the course says about them."""

from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names, shipped
from lora_teach.measure.results import RESULTS, load_result, write_result

import pytest


@pytest.fixture(scope="module")
def base_loss():
    model = load_name_gpt()
    return {language: evaluate(model, names.load(language).test) for language in names.languages()[:4]}


UNITS = {
    "share of the test digits read right; nats a letter",
    "nats a test digit",
    "share of the digits read right",
    "nats a letter",
    "share of the test digits read right",
    "share of right answers",
    "marks",
    "bytes",
    "bytes; FLOPs",
    "nats a letter; marks; bits",
    "digits: share of the test digits read right; names: nats a letter",
    "nats a name (kl), nats a letter (language, English), shares (success, distinct)",
    "score of an answer",
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_says_how_it_was_made(name):
    result = load_result(name)
    assert result["command"] == RESULTS[name]
    assert (shipped.DATA.parent / result["command"].split()[1]).is_file()
    # Bytes and FLOPs don't hang on a seed, and 13 tells of one run on SmolLM2 as of one.
    assert name.startswith("memory") or len(result["settings"]["seeds"]) >= (1 if name == "json_reward" else 3)
    assert result["unit"] in UNITS
    assert set(result["versions"]) == {"python", "torch"}


def test_the_race_was_fair_and_complete(base_loss):
    race = load_result("race")
    settings, results = race["settings"], race["results"]
    assert len(results) >= 3
    for language, result in results.items():
        assert result["base"] == pytest.approx(base_loss[language], abs=1e-3)
        assert list(result["contenders"]) == ["LoRA r=1", "LoRA r=4", "LoRA r=16", "full"]
        for name, entry in result["contenders"].items():
            rates = settings["learning_rates"]["full" if name == "full" else "LoRA"]
            assert set(entry["tried"]) == {str(rate) for rate in rates}
            assert entry["tried"][str(entry["lr"])] == min(entry["tried"].values())
            assert len(entry["runs"]) == len(settings["seeds"])
            assert entry["test"] == pytest.approx(
                sum(run["test"] for run in entry["runs"]) / len(entry["runs"]), abs=1e-4
            )
            for run in entry["runs"]:
                assert run["best_validation"] == min(run["validation"])
                assert run["best_step"] == run["steps"][run["validation"].index(run["best_validation"])]
                assert run["test"] < result["base"] - 0.5


def test_cut_or_train_shows_that_training_at_a_low_rank_beats_cutting(base_loss):
    result = load_result("cut_or_train")
    ranks, lines = result["settings"]["ranks"], result["results"]["lines"]
    assert result["results"]["base"] == pytest.approx(base_loss[result["settings"]["language"]], abs=1e-3)
    assert all(len(losses) == len(ranks) for losses in lines.values())
    for at, rank in enumerate(ranks):
        if rank <= 8:
            assert lines["trained"][at] < lines["update cut"][at] < lines["weights cut"][at]
    # The whole of either is the tuned model itself.
    assert ranks[-1] == 96
    assert lines["update cut"][-1] == pytest.approx(result["results"]["full"], abs=2e-3)
    assert lines["weights cut"][-1] == pytest.approx(result["results"]["full"], abs=2e-3)


def test_turned_down_to_nothing_both_are_the_base(base_loss):
    result = load_result("turn_it_down")
    strengths = result["settings"]["strengths"]
    assert strengths[0] == 0
    for entry in result["results"].values():
        for path in entry["paths"]:
            assert len(path) == len(strengths)
            assert path[0] == pytest.approx([base_loss["Zulu"], base_loss["English"]], abs=1e-3)
            assert path[strengths.index(1.0)][0] < path[0][0] - 1
            english = [pair[1] for pair in path]
            assert english == sorted(english)  # the stronger, the more English is lost


def test_writing_and_reading_again(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "DATA", tmp_path)
    write_result(tmp_path / "race.json", "race", {"seeds": [0]}, {"Zulu": [(1.23456789, "ä")]}, seconds=12.3)
    read = load_result("race")
    assert read["results"] == {"Zulu": [[1.2346, "ä"]]}
    assert read["seconds"] == 12


def test_an_unknown_or_missing_result_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="'marathon'.*race, cut_or_train, turn_it_down"):
        load_result("marathon")
    monkeypatch.setattr(shipped, "DATA", tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="python data/make_race.py"):
        load_result("race")
