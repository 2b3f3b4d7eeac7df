"""The lighthouse keeper: exchanges without a pattern, held-out subjects, and a meter that counts the style alone."""

import re

from lora_teach.datasets import speech
from lora_teach.datasets.shipped import DATA
from lora_teach.datasets.speech import held_out, questions, style_share, training

import pytest

ENDS = re.compile(r"[.!?]+")


def words(text):
    return set(re.findall(r"[a-z]+", text.lower()))


def test_the_exchanges_are_split_by_subject_and_none_is_there_twice():
    learnt, asked = training(), held_out()
    assert len(learnt) == 231 and len(asked) == 24 == len(questions())
    assert questions() == [conversation[0]["content"] for conversation in asked]
    for index in (0, 1):
        texts = [conversation[index]["content"] for conversation in [*learnt, *asked]]
        assert len({text.lower() for text in texts}) == len(texts)
    remarks = [re.split(r"(?<=[.!?])\s", conversation[1]["content"])[-1] for conversation in [*learnt, *asked]]
    assert len(set(remarks)) == len(remarks)
    assert training() == learnt


def test_each_held_out_question_has_a_word_that_no_training_question_has():
    known = set().union(*(words(conversation[0]["content"]) for conversation in training()))
    assert all(words(question) - known for question in questions())


def test_an_exchange_is_a_question_and_a_short_answer_in_plain_letters():
    for conversation in [*training(), *held_out()]:
        assert [message["role"] for message in conversation] == ["user", "assistant"]
        answer = conversation[1]["content"]
        assert answer.isascii() and answer == answer.strip() and "  " not in answer
        assert len(answer.split()) <= 36 and 1 <= len(ENDS.findall(answer)) <= speech.MOST_SENTENCES


def test_each_of_his_answers_is_wholly_in_his_style():
    for conversation in [*training(), *held_out()]:
        assert style_share(conversation[1]["content"]) == 1.0, conversation


def test_lad_and_friend_are_said_about_equally_often_in_training():
    said = [speech.ADDRESS.search(conversation[1]["content"])[0] for conversation in training()]
    assert abs(said.count("lad") - said.count("friend")) < 10


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("Find the hole in a bowl of water, dry the tube and patch it. Then pump up the tyre.", 0.0),
        ("Keep the film in paper sleeves, away from heat and light, in a cool and dry place.", 0.0),
        ("Patch the tube, lad. Then pump it up.", 0.5),
        ("Patch the tube and pump it up. There's rain coming.", 0.5),
        ("Before the fog comes in, patch the tube. Then pump it up.", 0.0),  # the remark comes last
        ("Patch the tube, friend. There's rain coming!", 1.0),
        ("Patch it, lad, before the wind gets up.", 1.0),
        ("Sing, lad, lad, lad. Sing in the night.", 0.0),  # stuck
        ("Take it off. Dry it. Patch it, lad. There's rain coming.", 0.0),  # too long for him
        ("Patch the tube, friend. There's rain coming over the", 0.0),  # cut off
        ("The ladder is friendly and the rainbow is sunny.", 0.0),  # whole words only
        ("lad wind", 0.0),
        ("", 0.0),
    ],
)
def test_the_meter_counts_the_address_and_the_last_remark(answer, share):
    assert style_share(answer) == share


def test_the_meter_does_not_know_what_is_right():
    assert style_share("Two and two are seven, lad. A fine mist tonight.") == 1.0


def test_where_it_comes_from_and_its_licence_are_told():
    (row,) = [
        line for line in (DATA / "README.md").read_text(encoding="utf-8").splitlines() if "`speech.jsonl`" in line
    ]
    assert "MIT" in row and "255" in row and "24" in row
