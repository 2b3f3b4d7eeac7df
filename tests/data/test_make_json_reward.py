"""A reward that a program verifies: what it scores, and that the command trains and counts what it did not score."""

from data.make_json_reward import PARTLY, SETTINGS, run, score
from lora_teach.datasets import appointments
from tests.tiny_language_model import tiny_model, word_tokenizer

import pytest


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ('{"who": "Ada Novak", "where": "Lyon", "when": 2}', 1),
        ('{"when": null, "who": "", "where": []}', 1),  # it does not look behind the keys
        ('{"who": "Ada Novak", "where": "Lyon"}', PARTLY),
        ('{"who": 1, "where": 2, "when": 3, "why": 4}', PARTLY),
        ("{}", PARTLY),
        ('["who", "where", "when"]', 0),
        ("who where when", 0),
        ('Here you are: {"who": "Ada", "where": "Lyon", "when": 2}', 0),
        ("[" * 100_000, 0),
        ("", 0),
    ],
)
def test_scores(answer, value):
    assert score(answer) == value


@pytest.mark.filterwarnings("ignore:in the first batch the 4 rewards")  # a model of 15 words never writes JSON
@pytest.mark.filterwarnings("ignore:30 of 30 trainable parameters never moved")
def test_it_trains_and_counts_what_stands_behind_the_keys():
    settings = SETTINGS | {"updates": 2, "answers": 4, "max_new_tokens": 3}
    said = []
    results = run(settings, tiny_model(), word_tokenizer(), appointments.exam(2), say=said.append)
    assert len(results["scores"]) == 2 and len(said) == 4
    assert results["before"]["of"] == results["after"]["of"] == 2 == len(results["after"]["answers"])
    assert set(results["after"]) == {"valid", "who", "where", "when", "of", "answers"}
    assert results["scores"][0][1] == pytest.approx(0, abs=1e-4)
