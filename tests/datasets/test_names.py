"""The names, their splits, their encoding and the judge of a language."""

import itertools

from lora_teach.datasets import names, shipped

import pytest
import torch

LANGUAGES = names.languages()


def mean_surprise(judge, some_names):
    return sum(map(judge.surprise, some_names)) / len(some_names)


def test_english_comes_first_and_at_least_six_targets_follow():
    assert LANGUAGES[0] == "English"
    assert len(set(LANGUAGES)) >= 7


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_enough_names_and_no_name_is_in_two_splits(language):
    loaded = names.load(language)
    parts = [loaded.train, loaded.validation, loaded.test]
    together = [name.casefold() for part in parts for name in part]
    assert len(together) == len(set(together))
    assert len(together) >= 500
    assert min(map(len, parts)) >= 100
    assert names.load(language) == loaded


def test_a_shared_name_is_in_the_same_split_of_both_languages():
    english = names.load("English")
    held_out = {*english.validation, *english.test}
    for language in LANGUAGES[1:]:
        assert held_out.isdisjoint(names.load(language).train)


def test_names_shared_with_english_are_counted():
    assert "maria" in names.shared("Finnish")
    counts = {language: len(names.shared(language)) for language in LANGUAGES[1:]}
    assert 0 < counts["Zulu"] < 20
    assert counts["Italian"] > counts["Zulu"]


def test_every_letter_is_in_the_alphabet_and_every_letter_of_the_alphabet_is_used():
    used = set()
    for loaded in map(names.load, LANGUAGES):
        for name in itertools.chain(loaded.train, loaded.validation, loaded.test):
            assert name == name.lower()
            assert 2 <= len(name) <= names.MAX_LETTERS
            used.update(name)
    assert used == set(names.ALPHABET[1:])
    assert len(set(names.ALPHABET)) == len(names.ALPHABET)


def test_encode_shifts_by_one_and_pads_targets():
    inputs, targets = names.encode(["aino", "eva"])
    assert inputs.shape == targets.shape == (2, 5)
    assert inputs.dtype == targets.dtype == torch.int64
    assert [names.ALPHABET[token] for token in inputs[0]] == [".", "a", "i", "n", "o"]
    assert [names.ALPHABET[token] for token in targets[0]] == ["a", "i", "n", "o", "."]
    assert targets[1, 3] == 0  # the end of "eva" is to be learnt
    assert targets[1, 4] == -100  # what is behind it is not


@pytest.mark.parametrize("language", LANGUAGES)
def test_decode_undoes_encode(language):
    sample = names.load(language).test
    inputs, _ = names.encode(sample)
    assert names.decode(inputs[:, 1:]) == sample


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (["Aino"], "'A'"),
        (["a.b"], "'.'"),
        (["a" * 17], "limit is 16"),
        ([], "non-empty"),
        ("aino", "list of names"),
    ],
)
def test_encode_refuses_what_it_cannot_spell(bad, message):
    with pytest.raises(ValueError, match=message):
        names.encode(bad)


def test_batches_hold_every_name_once_and_repeat_themselves():
    sample = names.load("Finnish").train[:50]
    batches = names.batches(sample, batch_size=16, seed=3)
    assert len(batches) == 4
    first, second = list(batches), list(batches)
    for (inputs, targets), (inputs_again, targets_again) in zip(first, second, strict=True):
        assert torch.equal(inputs, inputs_again)
        assert torch.equal(targets, targets_again)
    seen = [name for inputs, _ in first for name in names.decode(inputs[:, 1:])]
    assert sorted(seen) == sorted(sample)
    assert seen != sample
    assert seen != [name for inputs, _ in names.batches(sample, 16, seed=4) for name in names.decode(inputs[:, 1:])]


def test_batches_leave_the_global_random_state_alone():
    before = torch.get_rng_state()
    names.batches(["aino", "eero"], seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_judge_is_least_surprised_by_its_own_language():
    held_out = {language: names.load(language).validation for language in LANGUAGES}
    for language in LANGUAGES:
        judge = names.Judge(names.load(language).train)
        surprise = {other: mean_surprise(judge, held_out[other]) for other in LANGUAGES}
        assert min(surprise, key=surprise.get) == language
        assert surprise[language] < 2.5


def test_a_judge_tells_zulu_from_english():
    english, zulu = (names.Judge(names.load(language).train) for language in ("English", "Zulu"))
    assert zulu.surprise("mandlenkosi") < english.surprise("mandlenkosi")
    assert english.surprise("charlotte") < zulu.surprise("charlotte")


def test_a_judges_probabilities_sum_to_one_and_letters_average_to_the_surprise():
    judge = names.Judge(names.load("Zulu").train)
    for context in ("..", "th", "ży"):
        assert sum(judge._probability(context, letter) for letter in names.ALPHABET) == pytest.approx(1)
    letters = judge.letters("thandi")
    assert len(letters) == 7
    assert judge.surprise("thandi") == pytest.approx(sum(letters) / 7)


def test_an_unknown_language_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'Klingon'.*Finnish"):
        names.load("Klingon")


def test_a_missing_file_names_the_command_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "DATA", tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="python data/make_names.py"):
        names.load("Finnish")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_table_in_the_readme_of_data_counts_right(language):
    readme = (shipped.DATA / "README.md").read_text(encoding="utf-8")
    (row,) = [line for line in readme.splitlines() if line.startswith(f"| {language} |")]
    loaded = names.load(language)
    parts = [len(loaded.train), len(loaded.validation), len(loaded.test)]
    cells = [cell.strip().replace(",", "") for cell in row.split("|")[3:8]]
    assert cells[:4] == [str(count) for count in (sum(parts), *parts)]
    assert cells[4] == ("" if language == "English" else str(len(names.shared(language))))
