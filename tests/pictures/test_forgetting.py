"""Learning against forgetting: what is drawn and said is what was measured, read off another way."""

import copy

from lora_teach.live import explore
from lora_teach.measure.results import load_result
from lora_teach.pictures.forgetting import Forgetting
from lora_teach.pictures.forgetting.numbers import CONTENDERS
from lora_teach.pictures.forgetting.view import look
from lora_teach.plots.style import COLOURS, settle
from tests.live.sweep import sweep
from tests.plots.small import FORGETTING

import numpy as np
import pytest
from matplotlib.colors import same_color

YOURS = {"language": "Icelandic", "strength": [[3.0, 2.0], [2.6, 2.4], [2.45, 2.75], [2.5, 3.5]]}


def shown(**options):
    return explore(Forgetting(result=FORGETTING, **options))


def lines(axes):
    return [np.column_stack(line.get_data()).astype(float) for line in axes.lines]


def drawn_as(axes, expected):
    return any(path.shape == np.shape(expected) and np.allclose(path, expected) for path in lines(axes))


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_the_sentence_has_full_fine_tuning_and_the_one_that_kept_most_english():
    said = shown().move(language="Zulu", strength=1.0)
    assert "full fine-tuning 1.65 (a die with 5 sides) on Zulu, English 3.45 (a die with 32 sides)" in said
    assert "of the others rsLoRA r=16 has kept most English, 2.88, with Zulu at 1.88" in said
    equal = said.split("Scaled to ")[1]
    assert equal.startswith("2.15 on Zulu, full has English at 2.95; less is forgotten by rsLoRA r=16 2.60; ")
    assert equal.endswith("more by LoRA r=1 3.30; undecided: LoRA r=4 3.05.")


def test_the_groups_are_the_bands_that_do_and_do_not_overlap_with_full_fine_tunings():
    explorer = shown()
    for way in ("strength", "training"):
        _, bands = explorer.view.equal["Zulu"][way]
        said = explorer.view._equal_learning("Zulu", way)
        less, more = said.split("less is forgotten by ")[1].split("; more by ")
        assert less == "rsLoRA r=16 2.60" and more.startswith("LoRA r=1 3.30; ")
        assert bands["rsLoRA r=16"].high < bands["full"].low and bands["full"].high < bands["LoRA r=1"].low
    icelandic = explorer.move(language="Icelandic")
    assert icelandic.endswith("full has English at 3.05; less is forgotten by LoRA r=1 2.80; more by nobody.")


def test_at_strength_0_everybody_is_the_base():
    assert set(shown().view.losses("Zulu", 0.0).values()) == {(3.0, 2.0)}


def test_ones_own_run_lands_in_its_language_which_opens_and_moves_with_the_strength():
    explorer = shown(yours=YOURS)
    dot = explorer.view.dots["yours"]
    assert explorer.values == {"language": "Icelandic", "strength": 1.0}
    assert "your own run 2.45 and 2.75" in explorer.sentence and dot.get_xdata() == [2.45]
    assert "your own run 2.60 and 2.40" in explorer.move(strength=0.5)
    labels = [text.get_text() for text in explorer.view.axes[0].get_legend().get_texts()]
    assert labels[-1] == "your own run"
    assert "your own run" not in explorer.move(language="Zulu", strength=1.0) and not len(dot.get_xdata())
    assert len(list(sweep(explorer))) == 6


def test_a_run_on_the_real_results_is_told():
    run = load_result("forgetting")["results"]["Zulu"]["runs"]["full"][0]
    explorer = explore(Forgetting(yours={"language": "Zulu", "strength": run["strength"]}))
    assert explorer.values == {"language": "Zulu", "strength": 1.0}
    assert "your own run {:.2f} and {:.2f}".format(*run["loss"]) in explorer.sentence


def test_a_run_in_a_language_without_results_is_refused():
    with pytest.raises(ValueError, match="your run is on Polish.*Zulu, Icelandic"):
        shown(yours=YOURS | {"language": "Polish"})


@pytest.mark.parametrize(("guess", "error"), [("3", TypeError), (float("nan"), ValueError), (220, ValueError)])
def test_another_guess_is_refused_with_a_cure(guess, error):
    with pytest.raises(error, match="Give a loss in nats from 0 to 10, or None"):
        shown(guess=guess)


def test_a_language_without_full_fine_tuning_is_not_shown_yet():
    results = FORGETTING["results"]
    without = results["Icelandic"] | {"runs": {"LoRA r=1": results["Icelandic"]["runs"]["LoRA r=1"]}}
    view = Forgetting(result=FORGETTING | {"results": results | {"Icelandic": without}})
    assert list(view.entries) == ["Zulu"]


def test_no_two_contenders_look_alike():
    marks = [look(name, marker=True) for name in CONTENDERS]
    assert len({(mark["color"], mark["marker"], mark["markerfacecolor"]) for mark in marks}) == len(CONTENDERS)
    assert all(mark["marker"] for mark in marks)
    assert len({(look(name)["color"], str(look(name)["linestyle"])) for name in CONTENDERS}) == len(CONTENDERS)


def test_each_path_is_drawn_with_its_band_at_strength_1_and_its_row_at_equal_learning():
    left, middle, right = shown(guess=2.8).view.axes
    assert drawn_as(left, [[3.0, 2.0], [2.5, 2.95], [2.05, 3.4], [2.15, 5.0]])  # LoRA r=1, the mean of two seeds
    assert drawn_as(left, [[2.0, 3.4], [2.1, 3.4]]) and drawn_as(left, [[2.05, 3.3], [2.05, 3.5]])  # its seeds at ×1
    for axes in (middle, right):
        assert drawn_as(axes, [[2.85, 3], [3.05, 3]]) and drawn_as(axes, [[2.95, 3]])  # full: row 3
        assert texts(axes) == ["3.30", "3.05", "2.60", "2.95"]
    assert drawn_as(middle, [[2.8, 0]])  # the guess, in the first contender's row
    (path,) = [path for path in lines(left) if path.shape == (4, 2) and np.allclose(path[2], [1.65, 3.45])]
    assert path[0].tolist() == [3.0, 2.0]


def test_another_language_takes_the_first_ones_place_and_the_guess_goes():
    explorer = shown(guess=2.8)
    view = explorer.view
    before = [len(axes.get_children()) for axes in view.axes]
    assert explorer.sentence.endswith("Your guess for LoRA r=1: 2.80.")
    assert "guess" not in explorer.move(language="Icelandic")
    assert [texts(axes) for axes in view.axes[1:]] == [["2.80", "3.05"], ["3.00", "3.25"]]
    assert not view.mark.get_visible()
    explorer.move(language="Zulu", strength=0.5)
    assert [len(axes.get_children()) for axes in view.axes] == before
    assert view.mark.get_visible()


@pytest.mark.parametrize("strength", [0.0, 1.5])
def test_the_dots_stand_at_the_strength(strength):
    explorer = shown()
    explorer.move(language="Zulu", strength=strength)
    at = FORGETTING["settings"]["strengths"].index(strength)
    expected = np.mean([run["strength"][at] for run in FORGETTING["results"]["Zulu"]["runs"]["full"]], axis=0)
    assert np.ravel(explorer.view.dots["full"].get_data()) == pytest.approx(expected)
    assert not len(explorer.view.dots["yours"].get_xdata())


def test_the_static_figure_tells_who_learned_most_and_what_english_is_at_equal_learning():
    before = copy.deepcopy(FORGETTING)
    said = shown().static_figure.sentence
    assert "learned equally much. Scaled to 2.15 on Zulu, full has English at 2.95;" in said
    assert "Scaled to 2.45 on Icelandic" in said and "Trained" not in said
    assert before == FORGETTING


def test_the_static_figure_has_a_row_a_language_and_a_panel_a_contender_with_the_others_in_grey():
    made = Forgetting(result=FORGETTING).draw_all()
    settle(made)
    panels = [axes for axes in made.axes if axes.get_visible()]
    titles = [axes.get_title(loc="left") for axes in panels]
    names = ["LoRA r=1", "LoRA r=4", "rsLoRA r=16", "full", "LoRA r=1", "full"]
    assert [title.partition(":")[0] for title in titles] == names and titles[0] == "LoRA r=1: + 3.30"
    assert sum(same_color(line.get_color(), COLOURS["ghost"]) for line in panels[0].lines) == 4
