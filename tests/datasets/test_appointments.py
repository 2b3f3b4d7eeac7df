"""The house format: sentences that can't be known by heart, and a mark for each part of an answer."""

import json

from lora_teach.datasets import appointments
from lora_teach.datasets.appointments import Appointment, exam, example, grade, training

import pytest

CLARA = Appointment("On Tuesday Clara Novak will be in Lyon.", "Clara Novak", "Lyon", 2, True)


def test_training_and_exam_share_no_name_city_or_unseen_pattern():
    learnt, asked = training(), exam()
    assert len(learnt) == 360 and len({one.sentence for one in learnt}) == 360
    parts = lambda many: {part for one in many for part in (*one.who.split(), one.where)}  # noqa: E731
    assert not parts(learnt) & parts(asked)
    assert [one.seen for one in asked] == [True] * 12 + [False] * 12
    assert not set(appointments.PATTERNS) & set(appointments.UNSEEN_PATTERNS)
    for one in asked:
        stripped = one.sentence.replace(one.who, "{name}").replace(one.where, "{city}")
        stripped = stripped.replace(appointments.DAYS[one.when - 1], "{day}")
        assert (stripped in appointments.PATTERNS) == one.seen
        assert (stripped in appointments.UNSEEN_PATTERNS) != one.seen


def test_what_a_sentence_says_stands_in_it():
    for one in [*training(50, seed=3), *exam(20, seed=3)]:
        assert one.who in one.sentence and one.where in one.sentence
        assert appointments.DAYS[one.when - 1] in one.sentence
        assert json.loads(one.answer()) == {"who": one.who, "where": one.where, "when": one.when}


def test_the_same_seed_makes_the_same_sentences():
    assert training(20, seed=4) == training(20, seed=4) != training(20, seed=5)
    assert {one.when for one in training(100)} == set(range(1, 8))


def test_an_example_never_names_the_keys():
    question, answer = example(CLARA)
    assert question["role"] == "user" and CLARA.sentence in question["content"]
    assert not any(key in question["content"].replace(CLARA.sentence, "") for key in appointments.KEYS)
    assert answer == {"role": "assistant", "content": '{"who": "Clara Novak", "where": "Lyon", "when": 2}'}
    assert json.loads(example(CLARA, capitals=True)[1]["content"])["who"] == "Clara NOVAK"


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ('{"who": "Clara Novak", "where": "Lyon", "when": 2}', "valid who where when"),
        ('{"when": 2, "who": "Clara Novak", "where": "Lyon"}', "valid who where when"),
        ('{"who": "Clara NOVAK", "where": "Lyon", "when": 2}', "valid where when"),
        ('{"who": "Clara Novak", "where": "Oslo", "when": "2"}', "valid who"),
        ('{"who": "Clara Novak", "where": "Lyon", "when": 2.0}', "valid who where"),
        ('{"who": "Clara Novak", "where": "Lyon", "when": true}', "valid who where"),
        ('{"who": "Clara Novak", "where": "Lyon"}', ""),
        ('{"person": "Clara Novak", "city": "Lyon", "day": 2}', ""),
        ('Sure! {"who": "Clara Novak", "where": "Lyon", "when": 2}', ""),
        ("[1]", ""),
        ("", ""),
        ("[" * 100_000, ""),
    ],
    ids=range(12),
)
def test_each_part_of_an_answer_is_marked(answer, right):
    assert [key for key, mark in grade(CLARA, answer).items() if mark] == right.split()


def test_with_the_rule_of_capitals_only_capitals_are_right():
    assert not grade(CLARA, CLARA.answer(), capitals=True)["who"]
    assert all(grade(CLARA, CLARA.answer(capitals=True), capitals=True).values())


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="count=7 is odd"):
        exam(7)
    with pytest.raises(ValueError, match="count=0 sentences can't be made"):
        training(0)
