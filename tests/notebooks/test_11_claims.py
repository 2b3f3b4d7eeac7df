"""What notebook 11 reads off its pictures and its table, and says without a cell that shows it; its solutions solve."""

from statistics import mean, median

from data.make_learned import matched_strength
from lora_teach.bases import evaluate, load_language_adapter, load_name_gpt
from lora_teach.datasets import names
from lora_teach.exercises import check_frontier, check_intruders
from lora_teach.exercises.what_did_it_learn import PEFT_RUNS
from lora_teach.measure.learned import Shrinker
from lora_teach.measure.results import load_result
from lora_teach.peft_format.xray import xray
from lora_teach.pictures.forgetting import Forgetting
from lora_teach.pictures.forgetting.equal_learning import WAYS, beside_full, finished, lies
from lora_teach.pictures.forgetting.paper_claims import forgetting_claims, learned_claims
from lora_teach.pictures.intruders.view import LETTERS_KNOWN
from lora_teach.pictures.learned_spectra.view import Spectra
from lora_teach.pictures.subspace import enough, lora_lines, subspace_lines
from tests.notebooks.reading import DETAILS, ROOT, Lesson

import numpy as np
import pytest
import torch


@pytest.fixture(scope="module")
def learned():
    return load_result("learned")


@pytest.fixture(scope="module")
def zulu(learned):
    return learned["results"]["Zulu"]["contenders"]


@pytest.fixture(scope="module")
def words():
    """{language: {claim: verdict}}."""
    both = {language: learned_claims(language) + forgetting_claims(language) for language in ("Zulu", "Icelandic")}
    return {language: {claim.text: claim.verdict for claim in claims} for language, claims in both.items()}


def over_seeds(entry, key):
    return mean(mean(run[key]) for run in entry["runs"])


def test_its_own_runs_have_the_rates_that_validation_names_chose(zulu):
    assert zulu["LoRA r=8"]["lr"] == 0.003 and zulu["full"]["lr"] == 0.001
    assert load_result("race")["results"]["Zulu"]["contenders"]["full"]["lr"] == 0.001
    for entry in zulu.values():
        assert entry["tried"][str(entry["lr"])] == min(entry["tried"].values())


def test_lora_fills_two_or_three_of_8_directions_and_three_to_eight_of_64_and_full_takes_14(zulu):
    spectra = Spectra()
    of_kinds = [spectra.count(kind) for kind in ("q", "k", "v", "o", "MLP up", "MLP down")]
    assert {count["LoRA r=8"] for count in of_kinds} == {2, 3}
    assert [pick(count["LoRA r=64"] for count in of_kinds) for pick in (min, max)] == [3, 8]
    assert round(over_seeds(zulu["full"], "directions")) == 14 == spectra.count("all layers")["full"]


def test_the_effective_rank_of_notebook_06_is_mostly_3_to_4_where_fewer_directions_hold_90_percent(zulu):
    layers = xray(ROOT / "data" / "adapters" / "finnish").layers
    assert sum(2.9 < layer.effective_rank < 4 for layer in layers) > 0.9 * len(layers)
    assert over_seeds(zulu["LoRA r=8"], "effective_rank") > over_seeds(zulu["LoRA r=8"], "directions") + 1


def test_full_fine_tuning_is_as_good_with_an_update_of_little_more_than_half_the_size(zulu):
    assert 0.5 < over_seeds(zulu["full"], "relative") / over_seeds(zulu["LoRA r=8"], "relative") < 0.65
    losses = [mean(run["loss"][0] for run in zulu[name]["runs"]) for name in ("full", "LoRA r=8")]
    assert abs(losses[0] - losses[1]) < 0.05


def test_the_first_directions_of_rank_8_and_64_agree_in_some_layers_such_as_up(learned):
    maps = learned["results"]["Zulu"]["similarities"]["maps"]["r=8 and r=64"]
    first = {name.split(".")[-1]: phi[0][0] for name, phi in maps.items()}
    assert first["up_proj"] > 0.5 and sum(phi > 0.5 for phi in first.values()) <= 3
    assert first["q_proj"] < 0.5 and first["v_proj"] < 0.5


def test_in_q_the_two_first_directions_miss_each_other(learned):
    for maps in learned["results"]["Zulu"]["similarities"]["maps"].values():
        (phi,) = [phi[0][0] for name, phi in maps.items() if name.endswith("q_proj")]
        assert phi < 0.1


def test_the_amplification_factor_falls_with_the_rank(zulu):
    factors = [mean(median(run["amplification"]) for run in zulu[f"LoRA r={rank}"]["runs"]) for rank in (1, 2, 8, 64)]
    assert factors == sorted(factors, reverse=True) and factors[0] > 5 and factors[-1] < 1


def test_w_is_weaker_along_lora_than_halfway_but_stronger_than_chance(zulu):
    for rank in (2, 8, 64):
        assert 0 < over_seeds(zulu[f"LoRA r={rank}"], "emphasis") < 0.5


def test_the_shipped_zulu_adapter_lost_so_much_english():
    english = names.load("English").test[:LETTERS_KNOWN]
    losses = [evaluate(load_name_gpt(), english), evaluate(load_language_adapter(load_name_gpt(), "Zulu"), english)]
    assert losses == pytest.approx([2.11, 3.91], abs=0.006)
    for name in ("learned", "forgetting"):  # all of the test names
        assert load_result(name)["results"]["Zulu"]["base"][1] == pytest.approx(2.13, abs=0.005)


@pytest.mark.parametrize("factor", [0.75, 0.5, 0.25])
def test_turning_down_the_whole_update_gives_back_as_much_english_for_the_same_zulu(factor):
    base, model = load_name_gpt(), load_language_adapter(load_name_gpt(), "Zulu")
    lists = names.load("Zulu").test, names.load("English").test[:LETTERS_KNOWN]
    new, old = Shrinker(base, model, 0.5, 10).path([factor], *lists)[0]
    dial = matched_strength(base, model, new, *lists)["loss"]
    assert dial[0] <= new and dial[1] < old
    if factor < 0.5:
        assert dial[1] < old - 0.3  # far more at low factors
    if factor == 0.75:
        assert 0.15 < (3.91 - old) / (3.91 - 2.11) < 0.19  # a sixth of the English that was lost


def test_at_rank_64_and_in_full_fine_tuning_shrinking_gives_nothing_back(zulu):
    for name in ("LoRA r=64", "full"):
        paths = np.array([run["intruders shrunk"] for run in zulu[name]["runs"]])  # (seeds, factors, 2)
        assert (paths[:, -1, 1] - paths[:, 3, 1]).mean() < 0.03
        assert mean(sum(run["intruders"]["0.5"]) for run in zulu[name]["runs"]) > 5


def test_a_rank_1_update_brings_in_about_one_intruder_a_layer_at_most(learned):
    for result in learned["results"].values():
        for run in result["contenders"]["LoRA r=1"]["runs"]:
            counts = run["intruders"]["0.5"]
            assert len(counts) == 18 and sum(counts) <= 20


def test_the_control_changes_the_list(words):
    for said in words.values():
        for sighting in (
            "LoRA has intruder dimensions (r = 8)",
            "LoRA's ΔW at r = 8 amplifies: factor above 1",
            "W is weak along ΔW: halfway from chance to most is above it",
        ):
            assert said[sighting] == "holds at random too"
        for learned in (
            "a random update takes more directions than r = 8",
            "two seeds share more of 8 directions than chance",
            "… W is stronger along it",
            "… it forgets more English",
        ):
            assert said[learned] == "holds here"
        for sentence in (
            "full fine-tuning has none: 1 is above its count",
            "a low rank has more than a high one (8 and 64)",
            "the first direction of r = 8 is that of r = 64: φ > 0.5",
            "full's ΔW has over 10 times LoRA's rank, r = 8",
        ):
            assert said[sentence] == "fails here"
    back = "shrinking them by a quarter gives English back"
    assert [said[back] for said in words.values()] == ["holds here", "holds at random too"]


def test_a_random_update_of_rank_8_has_more_intruders_and_of_full_rank_fewer_than_the_learned_one(zulu):
    drawn = load_result("control")["results"]["Zulu"]
    counts = {
        name: [[sum(run["intruders"]["0.5"]) for run in some[name]["runs"]] for some in (zulu, drawn)]
        for name in ("LoRA r=8", "full")
    }
    assert max(counts["LoRA r=8"][0]) < min(counts["LoRA r=8"][1])
    assert min(counts["full"][0]) > max(counts["full"][1]) == 1


def test_a_random_update_takes_7_of_8_directions_and_costs_hardly_any_english(zulu):
    drawn = load_result("control")["results"]["Zulu"]["LoRA r=8"]["runs"]
    assert {count for run in drawn for count in run["directions"]} == {7}
    lost = [[run["loss"][1] - 2.13 for run in some] for some in (zulu["LoRA r=8"]["runs"], drawn)]
    assert max(lost[1]) < 0.1 * min(lost[0]) and all(run["loss"][0] > 3.2 for run in drawn)


def test_so_many_random_directions_are_enough_and_lora_needs_rank_8_on_black_paper():
    lines, lora = subspace_lines(), lora_lines()
    found = [enough(lines[task]) for task in ("turned by 30°", "turned by 90°", "inverted", "Zulu names")]
    assert found == [128, 256, 256, 1024] and enough(lines["turned by 30°, from scratch"]) == 128
    assert enough(lora["inverted"]) == 3584 == 8 * 448


@pytest.mark.parametrize("language", ["Zulu", "Icelandic"])
def test_nobody_forgets_less_where_all_have_learned_as_much_and_rank_1_forgets_more(language):
    entry = load_result("forgetting")["results"][language]
    for way in WAYS:
        found = {name: lies(*beside_full(entry, name, way)) for name in finished(entry) if name != "full"}
        assert "below" not in found.values() and found["LoRA r=1"] == "above"


def test_rank_1_on_icelandic_ends_with_less_learned_and_less_forgotten_and_has_forgotten_more_for_what_it_learned(
    words,
):
    said = words["Icelandic"]
    assert said["LoRA r=1 learns less than full: ends at a higher loss"] == "holds here"
    assert said["full forgets more than LoRA r=1"] == "holds here"
    assert said["full forgets more than LoRA r=1 where both have learned equally much"] == "fails here"


def test_the_guess_about_forgetting_is_of_rank_1_where_all_are_scaled_as_the_question_asks():
    view = Forgetting(guess=3.0)
    assert view.contender == "LoRA r=1"
    assert "Your guess for LoRA r=1: 3.00" in view.move(language="Zulu", strength=1.0)


def test_the_folded_solutions_solve_their_exercises():
    lesson = Lesson(ROOT / "notebooks" / "11_what_did_it_learn.ipynb")
    space = {"torch": torch}
    for cell in lesson.cells:
        for block in DETAILS.findall(cell.source) if cell.cell_type == "markdown" else []:
            exec("".join(part.split("```")[0] for part in str(block).split("```python")[1:]), space)
    assert check_intruders(space["intruders"]).passed
    assert check_frontier(space["frontier"]).passed
    assert len(space["frontier"](PEFT_RUNS)) == 4 and len(PEFT_RUNS) == 7
