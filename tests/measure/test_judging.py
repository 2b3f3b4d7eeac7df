import math

from data.make_morph import fingerprint
from lora_teach.bases import gumbel_noise, load_language_adapter, load_name_gpt, sample_names
from lora_teach.datasets import names
from lora_teach.measure.judging import (
    CHANCE,
    ENGLISH,
    NEITHER,
    OTHER,
    STRENGTHS,
    TEMPERATURE,
    Jury,
    measured,
    tastes,
)
from lora_teach.measure.writing import Writer, write_names

import pytest
import torch

ADAPTED = names.languages()[1:]
SHOWN = ["Finnish", "Zulu", "Italian", "Indonesian", "Icelandic"]  # the buttons of notebook 00


@pytest.fixture(scope="module")
def finnish():
    return load_language_adapter(load_name_gpt(), "Finnish")


def test_a_letter_pleases_the_judge_whom_it_surprises_less_or_neither():
    jury = Jury("Finnish")
    kinds = set()
    for name in ["mary", "päivi", "xqzzk", "hämäläinen", "žđýþ"]:
        signs = jury.tastes(name)
        assert len(signs) == len(name)
        for sign, english, other in zip(signs, jury.english.letters(name), jury.other.letters(name), strict=False):
            lost = english > math.log(56) and other > math.log(56)
            assert sign == (NEITHER if lost else ENGLISH if english <= other else OTHER)
            kinds.add(sign)
    assert kinds == {ENGLISH, OTHER, NEITHER}


def test_a_letter_pleases_the_judge_whom_it_surprises_least():
    judges = {"1": names.Judge(["anna"] * 9), "2": names.Judge(["ubu"] * 9)}
    assert tastes("anna", judges) == "1111" and tastes("ubu", judges) == "222"
    assert set(tastes("xqž", judges)) == {"-"}


def test_a_letter_pleases_nobody_exactly_when_all_judges_do_worse_than_a_blind_guess():
    class Fixed:  # a judge whom each letter surprises as much as it is told; the last number is the end's
        def __init__(self, *surprises):
            self.letters = lambda name: [*surprises, 0.0]

    guess = math.log(56)  # nats, of one who guesses among 56 signs
    barely, above = 1.000001 * guess, 1.1 * guess
    judges = {"a": Fixed(guess, barely, above, above), "b": Fixed(above, barely, guess, 9.9)}
    assert tastes("mary", judges) == "a-b-"
    assert tastes("mary", {"a": Fixed(1, 2, 2, 3), "b": Fixed(1, 2, 1.9, 3.1)}) == "aaba"  # of equals the first


def test_a_blind_guess_is_one_of_56_signs_and_4_03_nats():
    assert len(names.ALPHABET) == 56 and f"{CHANCE:.2f}" == "4.03"


def test_surprise_is_the_mean_over_names_in_nats_a_letter():
    jury = Jury("Zulu")
    english, other = jury.surprise(["mary", "thandeka"])
    judge = names.Judge(names.load("Zulu").train)
    assert other == pytest.approx((judge.surprise("mary") + judge.surprise("thandeka")) / 2)
    assert jury.surprise(["mary"])[0] < jury.surprise(["mary"])[1]
    assert jury.surprise(["thandeka"])[0] > jury.surprise(["thandeka"])[1]
    assert english != other


def test_real_names_are_on_one_of_the_two_lists():
    jury = Jury("Finnish")
    for language in ("Finnish", "English"):
        split = names.load(language)
        assert all(map(jury.is_real, [split.train[0], split.validation[0], split.test[0]]))
    assert not jury.is_real("xqzzk") and not jury.is_real("thandeka")


def test_strength_is_the_adapters_weight_in_the_mixture_and_none_is_the_base(finnish):
    noise = TEMPERATURE * gumbel_noise(4, seed=0)
    write_names(finnish, "Finnish", 0.3, noise)
    assert finnish.active_adapters == {"Finnish": 0.3}
    off = write_names(finnish, None, 0.3, noise)
    assert finnish.active_adapters == {}
    assert off == sample_names(load_name_gpt(), noise) == write_names(finnish, "Finnish", 0.0, noise)


def test_the_quick_writer_writes_the_same_names_and_leaves_the_model_alone(finnish):
    noise = TEMPERATURE * gumbel_noise(12, seed=1)
    before = finnish.active_adapters
    writer = Writer(finnish)
    assert finnish.active_adapters == before
    for strength in (1.5, 0.35, 3.0, 0.0, -1.0):
        assert writer.write("Finnish", strength, noise) == write_names(finnish, "Finnish", strength, noise)
    assert writer.write(None, 1.0, noise) == write_names(finnish, None, 1.0, noise)
    base = load_name_gpt().state_dict()
    assert all(torch.equal(value, base[name]) for name, value in writer.plain.state_dict().items())


@pytest.mark.parametrize("language", ADAPTED)
def test_lines_are_measured_with_the_shipped_adapters(language):
    lines = measured(language)
    assert len(STRENGTHS) == len(lines.english) == len(lines.other) == len(lines.real)
    assert lines.adapter == fingerprint(language), "the adapter is a newer one: run python data/make_morph.py"


def test_measuring_again_gives_the_shipped_points(finnish):
    lines, jury = measured("Finnish"), Jury("Finnish")
    noise = TEMPERATURE * gumbel_noise(lines.names, seed=1)
    written = write_names(finnish, "Finnish", 1.0, noise)
    assert jury.surprise(written) == pytest.approx((lines.english[10], lines.other[10]), abs=0.02)
    assert sum(map(jury.is_real, written)) / len(written) == pytest.approx(lines.real[10], abs=0.01)


# What notebook 00 says about the picture.


def test_zulus_floor_lies_a_little_under_one_and_is_wide():
    lines = measured("Zulu")
    assert 0.6 <= lines.best < 1
    assert max(lines.other[5:13]) < min(lines.other) + 0.3  # from ×0.5 to ×1.2


@pytest.mark.parametrize("language", SHOWN)
def test_most_of_the_new_language_is_there_at_half_strength(language):
    line = measured(language).other
    assert line[0] - line[5] > 0.7 * (line[0] - min(line))


def test_beyond_zulus_floor_both_judges_climb():
    lines = measured("Zulu")
    assert lines.other[12] < lines.other[15] < lines.other[20] < lines.other[25]
    assert lines.english[12] < lines.english[15] < lines.english[20] < lines.english[25]


def test_indonesians_floor_reaches_to_twice_the_strength():
    reach = {language: measured(language).other[20] - min(measured(language).other) for language in SHOWN}
    assert reach["Indonesian"] < 0.3 and min(reach, key=reach.get) == "Indonesian"
