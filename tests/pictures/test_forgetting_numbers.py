"""Learning against forgetting: what a run keeps, the order of the runs, and who forgets less at equal learning."""

from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.results import load_result
from lora_teach.measure.tuning import trainable_copy
from lora_teach.pictures.forgetting.equal_learning import (
    Band,
    apart,
    at_checkpoint,
    common_level,
    compare,
    english_at,
    english_by_contender,
    english_by_rate,
    finished,
    lowest,
    verdicts,
)
from lora_teach.pictures.forgetting.numbers import (
    CONTENDERS,
    LOOKS,
    RATES,
    STRENGTHS,
    forgetting_run,
    next_rate,
    next_run,
    own_run,
    runs_of,
)
from tests.plots.small import FORGETTING

import pytest

ZULU, ICELANDIC = FORGETTING["results"].values()
QUICK = {"steps": 4, "check_every": 2, "batch_size": 16, "strengths": (0, 1), "looks": (0, 4)}


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


def search(valley):
    tried = {}
    while (rate := next_rate(tried)) is not None:
        tried[rate] = valley(rate)
    return min(tried, key=tried.get), len(tried)


@pytest.mark.parametrize("best", RATES)
def test_the_search_for_a_learning_rate_ends_at_the_bottom_with_both_neighbours_tried(best):
    at = RATES.index(best)
    found, count = search(lambda rate: abs(RATES.index(rate) - at))
    assert found == best and count <= len(RATES)
    assert search(lambda rate: abs(RATES.index(rate) - 2))[1] == 3


def test_runs_are_made_in_order_each_once_and_the_rates_beside_the_chosen_ones_last():
    known = {name: 1e-3 for name in CONTENDERS if name not in ("LoRA r=64", "full")}
    entry, order = {"lr": {}, "runs": {}}, []
    while (job := next_run(entry, (0, 1), known, beside=("full",))) is not None:
        order.append(job)
        assert len(order) < 30
        name, lr, seed = job
        entry["runs"].setdefault(name, []).append({"lr": lr, "seed": seed, "best_validation": abs(lr - 3e-3)})
    assert len(set(order)) == len(order)
    assert order[:4] == [("full", 1e-3, 0), ("full", 3e-3, 0), ("full", 1e-2, 0), ("full", 3e-3, 1)]
    assert order[4:7] == [("LoRA r=1", 1e-3, 0), ("LoRA r=1", 1e-3, 1), ("LoRA r=4", 1e-3, 0)]
    assert order[-4:] == [
        ("LoRA r=64", 1e-3, 0),
        ("LoRA r=64", 3e-3, 0),
        ("LoRA r=64", 1e-2, 0),
        ("LoRA r=64", 3e-3, 1),
    ]
    assert entry["lr"] == known | {"LoRA r=64": 3e-3, "full": 3e-3}
    assert {(name, seed) for name, lr, seed in order if lr == entry["lr"][name]} == {
        (name, seed) for name in CONTENDERS for seed in (0, 1)
    }
    assert [run["seed"] for run in runs_of(entry, "full")] == [0, 1]
    assert len(order) == 2 * 7 + 4  # two rates more for each of the searches; full's are those beside


def test_a_rate_beside_a_known_one_is_run_after_everything_else():
    entry = {"lr": {}, "runs": {}}
    known = dict.fromkeys(CONTENDERS, 1e-3)
    for name in CONTENDERS:
        entry["runs"][name] = [{"lr": 1e-3, "seed": 0, "best_validation": 2.0}]
    assert next_run(entry, (0,), known) is None
    assert next_run(entry, (0,), known, ("full",)) == ("full", 3e-4, 0)


def test_only_runs_at_the_chosen_rate_count():
    assert [run["seed"] for run in finished(ZULU)["rsLoRA r=16"]] == [0, 1]
    assert list(finished(ICELANDIC)) == ["LoRA r=1", "full"]
    one_seed_less = ICELANDIC | {"runs": ICELANDIC["runs"] | {"LoRA r=1": ICELANDIC["runs"]["LoRA r=1"][:1]}}
    assert list(finished(one_seed_less)) == ["full"]
    assert finished({"lr": {}, "runs": {}}) == {}


def test_who_learns_most_and_forgets_least_on_made_up_results():
    learned = {name: new for name, (new, _) in at_checkpoint(ZULU).items()}
    assert learned["full"] == pytest.approx((1.65, 1.6, 1.7))
    assert lowest(learned) == ["full"]
    groups = list(finished(ZULU).values())
    assert common_level(groups, margin=0) == 2.1  # what LoRA r=1's first seed reaches
    assert common_level(groups) == pytest.approx(2.15)
    english = english_by_contender(ZULU)
    expected = {  # at 2.15 the straight line from the base is at 2.85
        "LoRA r=1": (3.30, 3.25, 3.35), "LoRA r=4": (3.05, 2.95, 3.15), "rsLoRA r=16": (2.60, 2.55, 2.65),
        "full": (2.95, 2.85, 3.05),
    }  # fmt: skip
    assert list(english) == list(expected)
    for name, numbers in expected.items():
        assert english[name] == pytest.approx(numbers)
    assert lowest(english) == ["rsLoRA r=16"]
    assert "LoRA r=1" not in english_by_contender(ZULU, level=1.95)  # one of its seeds never gets there


@pytest.mark.parametrize("way", ["training", "strength"])
def test_the_verdict_follows_the_bands_at_the_level_that_both_reach(way):
    found = verdicts(ZULU, way)
    assert {name: verdict.word for name, verdict in found.items()} == {
        "LoRA r=1": "more", "LoRA r=4": "undecided", "rsLoRA r=16": "less",
    }  # fmt: skip
    assert [verdict.level for verdict in found.values()] == pytest.approx([2.15, 1.95, 1.95])
    assert found["rsLoRA r=16"].theirs == found["LoRA r=4"].theirs
    assert [one.level for one in verdicts(ZULU, way, margin=0.1).values()] == pytest.approx([2.2, 2.0, 2.0])


def test_the_learning_rates_effect_is_read_off_one_seed():
    english = english_by_rate(ZULU, "rsLoRA r=16", 2.1)
    assert english == pytest.approx({0.003: 2.6, 0.03: 11.9})
    assert list(english_by_rate(ZULU, "rsLoRA r=16", 1.95)) == [0.003]  # the other never gets there


def test_less_and_more_change_places_with_the_contenders():
    ours, theirs = finished(ZULU)["LoRA r=1"], finished(ZULU)["rsLoRA r=16"]
    assert compare(ours, theirs).word == "more" and compare(theirs, ours).word == "less"
    assert compare(ours, ours).word == "undecided"


def test_bands_that_touch_are_not_apart():
    assert apart(Band(1, 0.9, 1.1), Band(1.3, 1.2, 1.4))
    assert not apart(Band(1, 0.9, 1.2), Band(1.3, 1.2, 1.4))
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
                assert entry["lr"][name] == min(tried, key=tried.get) and next_rate(tried) is None
            for run in runs:
                assert run["training"][0] == run["strength"][0] == pytest.approx(start, abs=1e-3)
                assert run["strength"][settings["strengths"].index(1)] == run["loss"]
                assert run["loss"][0] < start[0] - 1 and run["loss"][1] > english + 0.3


def test_at_equal_learning_no_contender_forgets_less_than_full_fine_tuning():
    """On Zulu, on both paths, and wherever above the lowest loss the line is drawn; rank 1 and 4 forget more."""
    entry = load_result("forgetting")["results"]["Zulu"]
    for way in ("training", "strength"):
        for margin in (0, 0.05, 0.1, 0.2):
            words = {name: verdict.word for name, verdict in verdicts(entry, way, margin=margin).items()}
            assert "less" not in words.values()
            assert words["LoRA r=1"] == words["LoRA r=4"] == "more"


def test_turning_down_keeps_more_english_than_stopping_early_and_a_lower_rate_more_than_a_higher():
    entry = load_result("forgetting")["results"]["Zulu"]
    ends = {way: english_by_contender(entry, way, 2.05) for way in ("strength", "training")}
    assert all(ends["strength"][name].high < ends["training"][name].low for name in CONTENDERS)
    for name in ("LoRA r=64", "rsLoRA r=16", "rsLoRA r=64"):
        english = list(english_by_rate(entry, name, 2.05).values())
        assert len(english) == 3 and english == sorted(english)
