from lora_teach.bases import gumbel_noise, load_language_adapter, load_name_gpt, sample_names
from lora_teach.live import explore
from lora_teach.measure.judging import STRENGTHS, Jury, measured
from lora_teach.pictures.morph import Morph, names_demo
from lora_teach.pictures.morph.view import COLUMNS, LANGUAGES, SEED, Curves, draw_columns
from lora_teach.plots import figure, panels
from lora_teach.plots.name_tiles import Written

import pytest

LINES = [0.0, 1.0, 3.0], [2.0, 3.0, 5.0], [5.0, 2.0, 4.0]  # strengths, English judge, other judge
PLACES = [("Finnish", 0.0), ("Zulu", 1.0), ("Icelandic", 3.0), ("Indonesian", 1.4), ("Italian", 0.5)]


@pytest.fixture(scope="module")
def demo():
    return names_demo()


def test_sentence_has_the_heights_of_both_lines_and_the_floor():
    explorer = explore(Morph(1.2))
    for language, strength in PLACES:
        sentence = explorer.move(language=language, strength=strength)
        lines, place = measured(language), STRENGTHS.index(strength)
        assert f"the {language} judge by {lines.other[place]:.2f} nats" in sentence
        assert f"the English judge by {lines.english[place]:.2f}." in sentence
        floor = STRENGTHS[lines.other.index(min(lines.other))]
        assert f"happiest at ×{floor:g} (your guess: ×1.2)." in sentence


def test_demo_counts_letters_and_real_names(demo):
    for language, strength in PLACES:
        sentence = demo.move(language=language, strength=strength)
        model = load_language_adapter(load_name_gpt(), language)
        model.set_adapter({language: strength})
        written, jury = sample_names(model, 0.7 * gumbel_noise(8, SEED)), Jury(language)
        signs = "".join(map(jury.tastes, written))
        assert f"of {len(signs)} letters the {language} judge prefers {signs.count('o')}," in sentence
        assert f"Real names: {sum(map(jury.is_real, written))} of 8." in sentence


def test_names_come_back_when_the_slider_comes_back(demo):
    first = demo.view.written("Finnish", 0.4)
    assert demo.view.written("Finnish", 2.0) != first
    assert demo.view.written("Finnish", 0.4) == first


def test_at_strength_0_the_names_are_the_bases_own(demo):
    base = sample_names(load_name_gpt(), 0.7 * gumbel_noise(8, SEED))
    for language in LANGUAGES:
        assert [one.name for one in demo.view.written(language, 0.0)] == base
    assert [one.name for one in demo.view.written(None)] == base


def test_a_small_move_changes_few_letters(demo):
    """The dice are kept: between ×0.5 and ×0.55 most names stay as they are."""
    names = [[one.name for one in demo.view.written("Finnish", strength)] for strength in (0.5, 0.55)]
    assert sum(a == b for a, b in zip(*names, strict=True)) >= 5


def test_without_an_adapter_the_english_judge_sits_alone(demo):
    assert set("".join(one.tastes for one in demo.view.written(None))) <= {"e", "-"}


def test_the_saved_picture_says_where_the_floor_is_and_how_many_names_are_real():
    view = Morph()
    sentence, lines = str(view.static_figure()), measured("Zulu")
    assert f"happiest at ×{lines.best:g}: {lines.other[0]:.2f} → {min(lines.other):.2f} nats a letter" in sentence
    assert (
        f"{lines.real[0]:.0%} are real ones at ×0, {lines.real[10]:.0%} at ×1, {lines.real[25]:.0%} at ×2.5" in sentence
    )
    assert list(view.columns("Zulu")) == ["×0 (off)", "×0.5", "×1", "×1.5", "×2.5"]
    assert view.columns("Zulu")["×1"] == view.written("Zulu", COLUMNS[2])


@pytest.mark.parametrize("guess", [3.1, -0.5, float("nan")])
def test_a_guess_off_the_slider_is_refused(guess):
    with pytest.raises(ValueError, match=f"guess={guess} lies outside the picture. Give a strength from 0 to 3"):
        Morph(guess)


@pytest.mark.parametrize("guess", ["1", True])
def test_a_guess_that_is_no_number_is_refused(guess):
    with pytest.raises(TypeError, match=f"guess={guess!r} is not a number"):
        Morph(guess)


@pytest.mark.parametrize("guess", [None, 3])
def test_the_curves_fill_the_picture(guess):
    place = Morph(guess, ["Zulu"]).curves.axes.get_position()
    assert place.x0 < 0.08 and place.x1 > 0.96 and place.y0 < 0.12


def test_dots_and_diamond_stand_on_the_lines_and_without_a_guess_there_is_no_diamond():
    axes = panels(figure(4, 3))
    drawn = Curves(axes, guess=0.5)
    drawn.set_lines(*LINES, "Zulu")
    drawn.move(2.0)
    english, other = drawn._dots
    assert (english.get_xdata(), english.get_ydata()) == ((2.0,), [4.0])
    assert (other.get_xdata(), other.get_ydata()) == ((2.0,), [3.0])
    assert (drawn._diamond.get_xdata(), drawn._diamond.get_ydata()) == ([0.5], [3.5])
    drawn = Curves(panels(figure(4, 3)))
    drawn.set_lines(*LINES, "Zulu")
    assert [text.get_text() for text in drawn.axes.get_legend().get_texts()] == ["English judge", "Zulu judge"]


def test_columns_have_titles_a_key_and_dots_at_their_strengths():
    columns = {title: [Written("io", "oo")] for title in ("×0", "×1")}
    made = draw_columns(columns, "Zulu", LINES, (0.0, 1.0))
    *boards, curves = made.axes
    assert [axes.get_title(loc="left") for axes in boards] == ["×0", "×1"]
    assert [text.get_text() for text in made.legends[0].get_texts()] == [
        "English judge", "Zulu judge", "neither", "a real name",
    ]  # fmt: skip
    dots = [line for line in curves.lines if line.get_marker() in ("s", "o")]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in dots] == [(0.0, 1.0, 2.0, 3.0), (0.0, 1.0, 5.0, 2.0)]
    assert len(draw_columns(columns, None).axes) == 2
