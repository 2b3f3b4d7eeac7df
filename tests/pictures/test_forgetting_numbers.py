"""Learning against forgetting: what a run keeps, the order of the runs, and who forgets less at equal learning."""

from data.make_forgetting import RATES, START
from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.results import load_result
from lora_teach.measure.tuning import next_rate, trainable_copy
from lora_teach.pictures.forgetting.equal_learning import (
    MARGIN,
    Band,
    band,
    beside_full,
    english_at,
    equal_learning,
    finished,
    lies,
)
from lora_teach.pictures.forgetting.numbers import CONTENDERS, LOOKS, STRENGTHS, forgetting_run, own_run
from tests.plots.small import FORGETTING

import pytest

ZULU, ICELANDIC = FORGETTING["results"].values()
QUICK = {"steps": 4, "check_every": 2, "batch_size": 16, "strengths": (0, 1), "looks": (0, 4)}


def lowest(bands):
    """Who has the lowest mean, and after it those whose bands overlap with its; one name is a clear result."""
    best, *others = sorted(bands, key=lambda name: bands[name].mean)
    return [best, *(name for name in others if lies(bands[name], bands[best]) == "undecided")]


@pytest.fixture(scope="module")
def base():
    return load_name_gpt()


@pytest.fixture(scope="module")
def start(base):
    return [evaluate(base, names.load(language).test) for language in ("Zulu", "English")]


@pytest.mark.parametrize("name", ["rsLoRA r=16", "full"])
def test_a_run_keeps_both_losses_over_training_and_over_strengths(base, start, name):
    run = forgetting_run(base, "Zulu", CONTENDERS[name], lr=1e-3, seed=1, **QUICK)
    assert run["steps"] == [0, 4]  # of 0, 2 and 4 those that are looks
    assert run["training"][0] == pytest.approx(start, abs=1e-5)
    assert run["strength"][0] == pytest.approx(start, abs=1e-5)
    assert run["best_step"] == 4
    assert run["loss"] == run["strength"][1] == pytest.approx(run["training"][1], abs=1e-5)
    assert run["loss"][0] < start[0]
    assert (run["lr"], run["seed"]) == (1e-3, 1)
    assert run["trainable"] == (16 * 5184 if name != "full" else sum(p.numel() for p in base.parameters()))


def test_a_run_without_strength_1_is_refused(base):
    with pytest.raises(ValueError, match="no 1"):
        forgetting_run(base, "Zulu", {"rank": 1}, lr=1e-3, strengths=(0, 2))


def test_contenders_have_the_races_alpha_and_rslora_the_root_of_the_rank(base):
    factors = {name: [layer.scaling for layer in trainable_copy(base, **options).lora_layers.values()]
               for name, options in CONTENDERS.items() if name != "full"}  # fmt: skip
    assert {name: set(found) for name, found in factors.items()} == {
        "LoRA r=1": {1.0}, "LoRA r=4": {1.0}, "LoRA r=16": {1.0}, "LoRA r=64": {1.0},
        "rsLoRA r=16": {4.0}, "rsLoRA r=64": {8.0},
    }  # fmt: skip


def test_ones_own_run_has_every_strength_of_the_slider(start):
    run = own_run("Zulu", 2, lr=1e-2, steps=40, scaling="alpha/sqrt(r)")
    assert run["language"] == "Zulu" and len(run["strength"]) == len(STRENGTHS)
    assert run["strength"][0] == pytest.approx(start, abs=1e-5)
    assert run["steps"] == [0, 20, 40] and run["loss"][0] < start[0] - 0.5


def test_only_runs_at_the_chosen_rate_count():
    assert [run["seed"] for run in finished(ZULU)["rsLoRA r=16"]] == [0, 1]
    assert list(finished(ICELANDIC)) == ["LoRA r=1", "full"]
    one_seed_less = ICELANDIC | {"runs": ICELANDIC["runs"] | {"LoRA r=1": ICELANDIC["runs"]["LoRA r=1"][:1]}}
    assert list(finished(one_seed_less)) == ["full"]
    assert finished({"lr": {}, "runs": {}}) == {}


def test_who_learns_most_and_forgets_least_on_made_up_results():
    learned = {name: band([run["loss"][0] for run in runs]) for name, runs in finished(ZULU).items()}
    assert learned["full"] == pytest.approx((1.65, 1.6, 1.7))
    assert lowest(learned) == ["full"]
    assert equal_learning(finished(ZULU), margin=0)[0] == 2.1  # what LoRA r=1's first seed reaches
    level, english = equal_learning(finished(ZULU))
    assert level == pytest.approx(2.15)
    expected = {  # at 2.15 the straight line from the base is at 2.85
        "LoRA r=1": (3.30, 3.25, 3.35), "LoRA r=4": (3.05, 2.95, 3.15), "rsLoRA r=16": (2.60, 2.55, 2.65),
        "full": (2.95, 2.85, 3.05),
    }  # fmt: skip
    assert list(english) == list(expected)
    for name, numbers in expected.items():
        assert english[name] == pytest.approx(numbers)
    assert lowest(english) == ["rsLoRA r=16"]


def words(entry, way="training", margin=MARGIN):
    others = [name for name in finished(entry) if name != "full"]
    return {name: lies(*beside_full(entry, name, way, margin)) for name in others}


@pytest.mark.parametrize("way", ["training", "strength"])
def test_the_verdict_follows_the_bands_at_the_level_that_both_reach(way):
    assert words(ZULU, way) == {"LoRA r=1": "above", "LoRA r=4": "undecided", "rsLoRA r=16": "below"}
    groups = finished(ZULU)
    for margin, levels in ((MARGIN, [2.15, 1.95, 1.95]), (0.1, [2.2, 2.0, 2.0])):
        pairs = [equal_learning({name: groups[name], "full": groups["full"]}, way, margin) for name in words(ZULU)]
        assert [level for level, _ in pairs] == pytest.approx(levels)
        assert [(bands[name], bands["full"]) for name, (_, bands) in zip(words(ZULU), pairs, strict=True)] == [
            beside_full(ZULU, name, way, margin) for name in words(ZULU)
        ]


def english_by_rate(entry, name, level):
    """``{learning rate: loss on English}`` of one contender's first seed at one loss on the new language."""
    runs = sorted((run for run in entry["runs"][name] if run["seed"] == 0), key=lambda run: run["lr"])
    found = {run["lr"]: english_at(run["training"], level) for run in runs}
    return {lr: english for lr, english in found.items() if english is not None}


def test_bands_that_touch_are_undecided():
    assert lies(Band(1, 0.9, 1.1), Band(1.3, 1.2, 1.4)) == "below"
    assert lies(Band(1.3, 1.2, 1.4), Band(1, 0.9, 1.1)) == "above"
    assert lies(Band(1, 0.9, 1.2), Band(1.3, 1.2, 1.4)) == lies(Band(1, 0.9, 1.1), Band(1, 0.9, 1.1)) == "undecided"
    assert lowest({"a": Band(1, 0.9, 1.2), "b": Band(1.3, 1.2, 1.4), "c": Band(2, 1.9, 2.1)}) == ["a", "b"]


def test_a_path_is_read_where_it_first_reaches_a_loss():
    path = [(3.0, 2.0), (2.0, 3.0), (1.5, 4.0), (2.5, 6.0), (1.0, 9.0)]  # overshoots and comes back
    assert english_at(path, 3.0) == 2.0
    assert english_at(path, 1.75) == pytest.approx(3.5)
    assert english_at(path, 1.2) == pytest.approx(6 + 3 * 1.3 / 1.5)
    assert english_at(path, 0.9) is None


def test_the_shipped_results_are_complete_tuned_and_begin_at_the_base(base):
    """Two languages, all seeds, each contender at the rate that was best on validation names; all of them on Zulu."""
    result = load_result("forgetting")
    settings, race = result["settings"], load_result("race")["results"]
    assert settings["contenders"] == CONTENDERS
    assert (settings["rates"], settings["looks"]) == (list(RATES), list(LOOKS))
    assert list(finished(result["results"]["Zulu"])) == list(CONTENDERS)
    english = evaluate(base, names.load("English").test)
    for language, entry in result["results"].items():
        start = [evaluate(base, names.load(language).test), english]
        assert {"LoRA r=1", "LoRA r=4", "LoRA r=16", "LoRA r=64", "full"} <= set(finished(entry))
        for name, runs in finished(entry).items():
            assert [run["seed"] for run in runs] == settings["seeds"]
            tried = {run["lr"]: run["best_validation"] for run in entry["runs"][name] if run["seed"] == 0}
            if name in race[language]["contenders"]:
                assert entry["lr"][name] == race[language]["contenders"][name]["lr"]
            else:
                assert entry["lr"][name] == min(tried, key=tried.get) and next_rate(tried, RATES, START) is None
            for run in runs:
                assert run["training"][0] == run["strength"][0] == pytest.approx(start, abs=1e-3)
                assert run["strength"][settings["strengths"].index(1)] == run["loss"]
                assert run["loss"][0] < start[0] - 1 and run["loss"][1] > english + 0.3


def test_at_equal_learning_no_contender_forgets_less_than_full_fine_tuning():
    """On Zulu, on both paths, and wherever above the lowest loss the line is drawn; rank 1 and 4 forget more."""
    entry = load_result("forgetting")["results"]["Zulu"]
    for way in ("training", "strength"):
        for margin in (0, 0.05, 0.1, 0.2):
            found = words(entry, way, margin)
            assert "below" not in found.values()
            assert found["LoRA r=1"] == found["LoRA r=4"] == "above"


def test_turning_down_keeps_more_english_than_stopping_early_and_a_lower_rate_more_than_a_higher():
    entry = load_result("forgetting")["results"]["Zulu"]
    for runs in finished(entry).values():
        ends = {way: band([english_at(run[way], 2.05) for run in runs]) for way in ("strength", "training")}
        assert lies(ends["strength"], ends["training"]) == "below"
    for name in ("LoRA r=64", "rsLoRA r=16", "rsLoRA r=64"):
        english = list(english_by_rate(entry, name, 2.05).values())
        assert len(english) == 3 and english == sorted(english)
