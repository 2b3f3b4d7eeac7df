"""What counts: the tokens that are blue are those that the loss counts."""

from lora_teach.bases.registry import TextBase, load_base
from lora_teach.live import explore
from lora_teach.pictures.what_counts import WhatCounts
from lora_teach.pictures.what_counts.numbers import Marked, marked
from lora_teach.pictures.what_counts.view import ROWS, WIDTH, overlay, page
from tests.tiny_language_model import tiny_model, word_tokenizer

import numpy as np


def test_of_a_name_the_rest_and_the_end_count():
    one = marked(load_base("names"), ("emma", "nath"))
    assert "".join(one.pieces) == "emmanath." and one.counts == [False] * 4 + [True] * 5 and one.counted == 5


def test_of_a_chat_the_answer_and_its_end_count():
    base = TextBase(tiny_model(), word_tokenizer())
    example = [{"role": "user", "content": "what colour"}, {"role": "assistant", "content": "blue"}]
    one = marked(base, example)
    (batch,) = base.batches([example], 1, seed=0)
    assert len(one.pieces) == batch["labels"].shape[1]
    assert [piece.strip() for piece, counts in zip(one.pieces, one.counts, strict=True) if counts] == ["blue", "<end>"]


def test_each_character_is_in_one_of_the_two_texts():
    pale, strong = overlay(Marked(["em", "ma", "\n", "nath", "."], [False, False, False, True, True]), 2)
    assert (pale, strong) == ("emma↵     ", "     nath.")


def test_of_a_long_example_the_end_is_shown():
    long = Marked(["x"] * 1000 + ["y"], [False] * 1000 + [True])
    pale, strong = overlay(long, 3)
    assert len(pale.splitlines()) == 3 and pale.startswith("…x") and strong.endswith("y")
    assert len(pale.replace("\n", "")) == 3 * WIDTH


def test_a_page_has_as_many_examples_as_fit():
    short = [Marked(list(f"name{number}."), [False] * 5 + [True]) for number in range(20)]
    assert len(page(short)[0].splitlines()) == ROWS
    long = [Marked(["x"] * 60, [True] * 60)] * 5
    assert page(long)[1].splitlines()[2] == "" and len(page(long)[1].splitlines()) <= ROWS
    assert page([Marked(["x"] * 9999, [True] * 9999)])[1]  # the first one always


def test_lengths_and_sentence_are_those_of_the_examples():
    base = load_base("names")
    explorer = explore(WhatCounts(base, [("emma", "nath"), ("bo", "noth"), ("oscar", "ath")]))
    assert "Example 1, at the top: 9 tokens, of which 5 count" in explorer.sentence
    assert "56% count" in explorer.sentence  # 14 of 25
    assert "7 tokens, of which 5 count" in explorer.move(example=2)
    assert np.ravel(explorer.view.here.get_xdata()).tolist() == [7, 7]
    pale, strong = (text.get_text().splitlines() for text in explorer.view.texts)
    assert (pale[0].strip(), strong[0].strip()) == ("bo", "noth.")
