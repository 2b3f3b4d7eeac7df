"""What notebook 04 reads off its pictures, and says without a cell that shows it; and that its solutions solve."""

import inspect

from lora_teach import LoRAModel, NonFiniteLoss, train
from lora_teach.bases import evaluate, load_name_gpt, name_loss
from lora_teach.datasets import names
from lora_teach.measure.results import load_result
from lora_teach.pictures.race.view import own_best, stopped_at

import numpy as np
import pytest
import torch


@pytest.fixture(scope="module")
def race():
    return {language: result["contenders"] for language, result in load_result("race")["results"].items()}


def test_the_last_batch_of_every_pass_holds_7_names():
    *whole, last = (len(inputs) for inputs, _ in names.batches(names.load("Finnish").train, batch_size=32))
    assert set(whole) == {32} and last == 7


def test_the_7_names_of_the_last_batch_are_learned_faster_than_the_rest_whatever_their_order():
    trained = names.load("Finnish").train
    for seed in (0, 1):
        batches = names.batches(trained, batch_size=32, seed=seed)
        *whole, last = batches
        model = LoRAModel(load_name_gpt(), rank=4)
        train(model, batches, name_loss, lr=1e-2, steps=90, progress=False)
        with torch.no_grad():
            seven, *others = (name_loss(model(inputs), targets).item() for inputs, targets in (last, *whole))
        assert seven < min(others)


def test_full_fine_tuning_overfits_in_200_steps_and_has_not_its_names_by_heart():
    finnish = names.load("Finnish")
    model = load_name_gpt()
    train(model, names.batches(finnish.train), name_loss, lr=1e-3, steps=200, progress=False)
    assert 1 < evaluate(model, finnish.train) < evaluate(model, finnish.test) - 0.7


def test_the_race_was_run_as_the_text_says():
    settings = load_result("race")["settings"]
    assert {len(rates) for rates in settings["learning_rates"].values()} == {4}
    assert settings["steps"] == {"Finnish": 400, "Zulu": 400, "Icelandic": 800}
    assert load_result("turn_it_down")["settings"]["steps"] == 400


def test_adamw_has_a_weight_decay_of_its_own():
    assert inspect.signature(torch.optim.AdamW).parameters["weight_decay"].default == 0.01


@pytest.mark.parametrize("language", ["Finnish", "Zulu"])
def test_at_step_400_full_fine_tuning_is_last(race, language):
    losses = stopped_at(race[language], 400)
    assert max(losses, key=losses.get) == "full"


@pytest.mark.parametrize("language", ["Finnish", "Zulu"])
def test_by_step_400_full_fine_tuning_has_strayed_the_furthest_from_its_best(race, language):
    best = {name: np.mean([run["best_validation"] for run in entry["runs"]]) for name, entry in race[language].items()}
    strayed = {name: loss - best[name] for name, loss in stopped_at(race[language], 400).items()}
    assert max(strayed, key=strayed.get) == "full"


def test_rank_4_strays_further_than_rank_16_on_finnish_and_nobody_far_on_icelandic(race):
    def strayed(entry):
        return np.mean([run["validation"][-1] - run["best_validation"] for run in entry["runs"]])

    assert strayed(race["Finnish"]["LoRA r=4"]) > strayed(race["Finnish"]["LoRA r=16"]) + 0.05
    assert max(map(strayed, race["Icelandic"].values())) < 0.03
    assert 4.5 < len(names.load("Icelandic").train) / len(names.load("Finnish").train) < 5


def test_at_its_own_best_full_fine_tuning_is_behind_nowhere(race):
    for entries in race.values():
        losses = own_best(entries)
        assert losses["full"] < min(losses.values()) + 0.01


def test_rank_4_ties_with_full_on_finnish_and_zulu_is_close(race):
    finnish, zulu = own_best(race["Finnish"]), own_best(race["Zulu"])
    assert abs(finnish["LoRA r=4"] - finnish["full"]) < race["Finnish"]["LoRA r=4"]["spread"]
    assert 0 < zulu["LoRA r=16"] - zulu["full"] < zulu["LoRA r=1"] - zulu["full"] < 0.06


def test_on_icelandic_full_wins_and_rank_counts(race):
    losses = own_best(race["Icelandic"])
    assert list(losses) == ["LoRA r=1", "LoRA r=4", "LoRA r=16", "full"]
    assert list(losses.values()) == sorted(losses.values(), reverse=True)
    assert losses["LoRA r=1"] > losses["full"] + 0.2
    letters = {language: set("".join(names.load(language).train)) for language in race}
    assert len(names.load("Icelandic").train) == max(len(names.load(language).train) for language in race)
    assert letters["Icelandic"] - set("".join(names.load("English").train))


def test_loras_best_rate_is_ten_to_thirty_times_fulls(race):
    for entries in race.values():
        assert all(9 < entry["lr"] / entries["full"]["lr"] < 35 for name, entry in entries.items() if name != "full")


def test_the_full_update_is_nearly_of_rank_16_and_rank_1_can_be_trained_all_the_same():
    result = load_result("cut_or_train")
    results, at_16 = result["results"], result["settings"]["ranks"].index(16)
    assert round(results["lines"]["update cut"][at_16] - results["full"], 2) == 0.02
    learned = results["base"] - results["full"]
    cut, trained = results["lines"]["update cut"][0], results["lines"]["trained"][0]
    assert cut - results["full"] > 0.3 * learned  # much of it is lost
    assert trained - results["full"] < 0.05 * learned  # nearly as good


def test_three_quarters_keep_the_zulu_and_give_back_a_fifth_of_the_english():
    result = load_result("turn_it_down")
    at = [result["settings"]["strengths"].index(strength) for strength in (0, 0.75, 1)]
    base, turned, whole = np.mean(result["results"]["LoRA r=4"]["paths"], axis=0)[at]
    assert abs(turned[0] - whole[0]) < 0.03
    assert (whole[1] - turned[1]) / (whole[1] - base[1]) == pytest.approx(0.2, abs=0.02)


def test_the_scaled_full_update_runs_close_by_and_a_little_better():
    result = load_result("turn_it_down")["results"]
    lora, full = (np.mean(result[name]["paths"], axis=0) for name in ("LoRA r=4", "full"))
    there = lora[1:7]  # ×0.125 to ×0.75, where both still gain Zulu
    falling = full[: full[:, 0].argmin() + 1][::-1]
    english = np.interp(there[:, 0], falling[:, 0], falling[:, 1])  # full's, at the same loss on Zulu
    assert (english < there[:, 1] + 0.02).all() and (english > there[:, 1] - 0.4).all()


def test_a_rate_of_1e5_stops_the_run_and_leaves_it_finite():
    model = LoRAModel(load_name_gpt(), rank=4)
    with pytest.raises(NonFiniteLoss):
        train(model, names.batches(names.load("Finnish").train), name_loss, lr=1e5, steps=20, progress=False)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_a_rate_of_1_goes_on_to_the_end_and_learns_little():
    finnish = names.load("Finnish")
    model = LoRAModel(load_name_gpt(), rank=4)
    history = train(model, names.batches(finnish.train), name_loss, lr=1.0, steps=40, progress=False)
    assert len(history) == 40
    assert evaluate(model, finnish.test) > evaluate(load_name_gpt(), finnish.test) - 0.5
