"""Which run comes next, and that the file's runs are those of the command."""

from data.make_variants_smollm2 import SETTINGS, next_run, validation_examples
from lora_teach.datasets import appointments
from lora_teach.measure.results import load_result
from lora_teach.measure.variants import CONTENDERS

import pytest

LOSSES = {0.0001: 3.0, 0.0003: 1.0, 0.001: 2.0, 0.003: 4.0}


def order(start, runs):
    """Return the runs in the order in which they are asked for."""
    done = []
    while (wanted := next_run(runs, start)) is not None:
        lr, seed = wanted
        done.append(wanted)
        runs.setdefault(str(lr), {})[str(seed)] = {"validation": LOSSES[lr]}
    return done


def test_a_rate_is_searched_with_the_first_seed_and_the_others_run_at_it_and_at_the_rate_for_all():
    searched = [(0.001, 0), (0.003, 0), (0.0003, 0), (0.0001, 0)]
    assert order(0.001, {}) == searched + [(lr, seed) for seed in (1, 2) for lr in (0.0003, 0.001)]
    assert order(0.0001, {})[:3] == [(0.0001, 0), (0.0003, 0), (0.001, 0)]  # the rate for all is among them in any case


def test_validation_sentences_are_none_of_the_exams_nor_of_training():
    asked = [conversation[0]["content"] for conversation in validation_examples()]
    others = [*appointments.exam(SETTINGS["sentences"]), *appointments.training()]
    assert len(set(asked)) == SETTINGS["validation"]["count"]
    assert not set(asked) & {appointments.example(one)[0]["content"] for one in others}


def test_the_file_is_whole_and_what_the_command_makes():
    kept = load_result("variants_smollm2")
    assert kept["settings"] == SETTINGS and set(SETTINGS["start"]) < set(CONTENDERS)
    shared = str(SETTINGS["shared_rate"])
    assert set(kept["results"]) == set(SETTINGS["start"])
    for name, runs in kept["results"].items():
        assert next_run(runs, SETTINGS["start"][name]) is None
        for lr, by_seed in runs.items():
            assert float(lr) in SETTINGS["learning_rates"] and {int(seed) for seed in by_seed} <= set(SETTINGS["seeds"])
            assert all(len(run["loss"]) == SETTINGS["steps"] for run in by_seed.values())
            right = [round(run["test"] * SETTINGS["sentences"]) for run in by_seed.values()]
            assert all(whole <= min(run["right"].values()) for whole, run in zip(right, by_seed.values(), strict=True))
        assert all(run["random"] > 10 * run["validation"] for run in runs[shared].values())


@pytest.mark.parametrize("seed", SETTINGS["seeds"])
def test_plain_lora_is_notebook_07s_run(seed):
    ours = load_result("variants_smollm2")["results"]["LoRA"][str(SETTINGS["shared_rate"])][str(seed)]
    theirs = load_result("answer_sheet")["results"]["runs"][f"seed {seed}"]
    assert ours["loss"] == pytest.approx(theirs["loss"][: SETTINGS["steps"]], abs=0.01)
    assert round(ours["test"] * SETTINGS["sentences"]) == theirs["sheets"]["20"]["marks"].count("1111")
