import pytest

from lora_teach.bases import gumbel_noise, load_language_adapter, load_name_gpt, sample_names
from lora_teach.measure.judging import STRENGTHS, Jury, measured
from lora_teach.pictures.morph.view import COLUMNS, LANGUAGES, SEED, Morph, names_demo

# test_views.py sweeps the picture; here it is the sentences that are compared with numbers computed another way.
PLACES = [("Finnish", 0.0), ("Zulu", 1.0), ("Icelandic", 3.0), ("Indonesian", 1.4), ("Italian", 0.5)]


@pytest.fixture(scope="module")
def demo():
    return names_demo()


def test_sentence_has_the_heights_of_both_lines_and_the_floor():
    explorer = Morph.example(guess=1.2)
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


def test_twin_says_where_the_floor_is_and_how_many_names_are_real():
    view = Morph()
    sentence, lines = str(view.twin("Zulu")), measured("Zulu")
    assert f"happiest at ×{lines.best:g}: {lines.other[0]:.2f} → {min(lines.other):.2f} nats a letter" in sentence
    assert (
        f"{lines.real[0]:.0%} are real ones at ×0, {lines.real[10]:.0%} at ×1, {lines.real[25]:.0%} at ×2.5" in sentence
    )
    assert list(view.columns("Zulu")) == ["×0 (off)", "×0.5", "×1", "×1.5", "×2.5"]
    assert view.columns("Zulu")["×1"] == view.written("Zulu", COLUMNS[2])


@pytest.mark.parametrize("guess", [3.1, -0.5])
def test_a_guess_off_the_slider_is_refused(guess):
    with pytest.raises(ValueError, match=f"guess={guess} lies outside the slider. Give a strength from 0 to 3"):
        Morph(guess)


@pytest.mark.parametrize("guess", ["1", True])
def test_a_guess_that_is_no_number_is_refused(guess):
    with pytest.raises(TypeError, match=f"guess={guess!r} is not a number"):
        Morph(guess)
