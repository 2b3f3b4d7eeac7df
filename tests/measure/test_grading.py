"""Answers are graded to the letter, and each model answers for itself."""

from lora_teach import LoRAModel
from lora_teach.bases.registry import NamesBase, TextBase, load_base
from lora_teach.measure.grading import grade, right
from lora_teach.measure.tuning import trainable_copy
from tests.tiny_language_model import tiny_model, word_tokenizer

import torch


class Parrot(NamesBase):
    """Answers with what it is told to, and keeps what it was asked."""

    def __init__(self, said):
        super().__init__(torch.nn.Linear(1, 1))
        self.said, self.asked_for = said, []

    def answer(self, model, examples, **options):
        self.asked_for += examples
        return self.said


def test_answers_are_graded_to_the_letter():
    base = Parrot(["nath", "Ath", "ex "])
    graded = grade(base, base.model, [("emma", "nath"), ("oscar", "ath"), ("otter", "ex")])
    assert graded == [("emma", "nath", "nath"), ("oscar", "Ath", "ath"), ("otter", "ex ", "ex")]
    assert right(graded) == 1 / 3
    assert base.asked_for == [("emma", ""), ("oscar", ""), ("otter", "")]  # the completion is not shown


def test_a_copy_with_an_adapter_answers_for_itself():
    base = load_base("names")
    model = trainable_copy(base.model, 2)
    asked = [("emm", "a"), ("osca", "r")]
    before = grade(base, model, asked)
    assert before == grade(base, base.model, asked)
    with torch.no_grad():
        for layer in model.lora_layers.values():
            layer.lora_B.normal_(std=1.0)
    assert grade(base, model, asked) != before and grade(base, base.model, asked) == before


def test_so_does_the_copy_of_a_language_model():
    base = TextBase(tiny_model(), word_tokenizer())
    adapted = trainable_copy(base.model, 2)
    example = [{"role": "user", "content": "what colour is the sky ?"}, {"role": "assistant", "content": "blue"}]
    before = grade(base, base.model, [example], max_new_tokens=4)
    assert before == grade(base, adapted, [example], max_new_tokens=4)
    assert before[0][0] == "what colour is the sky ?" and before[0][2] == "blue"
    with torch.no_grad():
        for layer in adapted.lora_layers.values():
            layer.lora_B.normal_(std=3.0)
    assert isinstance(adapted, LoRAModel) and grade(base, adapted, [example], max_new_tokens=4) != before
    assert grade(base, base.model, [example], max_new_tokens=4) == before
