"""Learning against forgetting says what the results say, read off another way."""

from lora_teach.live import explore
from lora_teach.measure.results import load_result
from lora_teach.pictures.forgetting.view import Forgetting
from tests.live.sweep import sweep
from tests.plots.small import FORGETTING

import pytest

YOURS = {"language": "Icelandic", "strength": [[3.0, 2.0], [2.6, 2.4], [2.45, 2.75], [2.5, 3.5]]}


def explorer(**options):
    view = Forgetting(result=FORGETTING, **options)
    return explore(view, language=list(view.entries), strength=(view.strengths, 1.0))


def test_the_sentence_has_full_fine_tuning_and_the_one_that_kept_most_english():
    said = explorer().move(language="Zulu", strength=1.0)
    assert "full fine-tuning 1.65 (a die with 5 sides) on Zulu, English 3.45 (a die with 32 sides)" in said
    assert "of the others rsLoRA r=16 has kept most English, 2.88, with Zulu at 1.88" in said
    equal = said.split("Scaled to ")[1]
    assert equal.startswith("2.15 on Zulu, full has English at 2.95; less is forgotten by rsLoRA r=16 2.60; ")
    assert equal.endswith("more by LoRA r=1 3.30; undecided: LoRA r=4 3.05.")


def test_the_groups_are_the_bands_that_do_and_do_not_overlap_with_full_fine_tunings():
    view = Forgetting(result=FORGETTING)
    for way in ("strength", "training"):
        level, bands = view.equal["Zulu"][way]
        said = view._equal_learning("Zulu", way)
        less, more = said.split("less is forgotten by ")[1].split("; more by ")
        assert less == "rsLoRA r=16 2.60" and more.startswith("LoRA r=1 3.30; ")
        assert bands["rsLoRA r=16"].high < bands["full"].low and bands["full"].high < bands["LoRA r=1"].low
    icelandic = explorer().move(language="Icelandic")
    assert icelandic.endswith("full has English at 3.05; less is forgotten by LoRA r=1 2.80; more by nobody.")


def test_at_strength_0_everybody_is_the_base():
    view = Forgetting(result=FORGETTING)
    assert set(view.losses("Zulu", 0.0).values()) == {(3.0, 2.0)}


def test_ones_own_run_lands_in_its_language_and_moves_with_the_strength():
    made = explorer(yours=YOURS)
    dot = made.view.drawn.dots["yours"]
    assert "your own run" not in made.move(language="Zulu", strength=1.0) and not len(dot.get_xdata())
    said = made.move(language="Icelandic")
    assert "your own run 2.45 and 2.75" in said and dot.get_xdata() == [2.45]
    assert "your own run 2.60 and 2.40" in made.move(strength=0.5)
    labels = [text.get_text() for text in made.view.drawn.axes[0].get_legend().get_texts()]
    assert labels[-1] == "your own run"
    assert len(list(sweep(made))) == 6


def test_a_run_in_a_language_without_results_is_refused():
    with pytest.raises(ValueError, match="your run is on Polish.*Zulu, Icelandic"):
        Forgetting(yours=YOURS | {"language": "Polish"}, result=FORGETTING)


def test_the_guess_is_said_and_drawn_for_the_first_language_only():
    made = explorer(guess=2.8)
    assert made.sentence.endswith("Your guess for LoRA r=1: 2.80.")
    assert "guess" not in made.move(language="Icelandic")


def test_a_language_without_full_fine_tuning_is_not_shown_yet():
    results = FORGETTING["results"]
    without = results["Icelandic"] | {"runs": {"LoRA r=1": results["Icelandic"]["runs"]["LoRA r=1"]}}
    view = Forgetting(result=FORGETTING | {"results": results | {"Icelandic": without}})
    assert list(view.entries) == ["Zulu"]


def test_the_twin_tells_who_learned_most_and_what_english_is_at_equal_learning():
    said = Forgetting(result=FORGETTING).twin().sentence
    assert "Zulu: most is learned by full. Scaled to 2.15 on Zulu, full has English at 2.95;" in said
    assert "Icelandic: most is learned by full. Scaled to 2.45" in said
    assert "Trained to 2.25 on Icelandic, full has English at 3.25; less is forgotten by LoRA r=1;" in said


def test_the_example_opens_with_ones_own_language():
    result = load_result("forgetting")
    run = result["results"]["Zulu"]["runs"]["full"][0]
    made = Forgetting.example(yours={"language": "Zulu", "strength": run["strength"]})
    assert made.values == {"language": "Zulu", "strength": 1.0}
    assert "your own run {:.2f} and {:.2f}".format(*run["loss"]) in made.sentence
