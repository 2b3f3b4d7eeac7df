"""Greedy generation is greedy whatever the model's generation config says, and ends at each of its end marks."""

from lora_teach import LoRAModel
from lora_teach.bases.generation import generating_greedily
from lora_teach.bases.registry import NamesBase, TextBase
from lora_teach.datasets import names
from tests.tiny_language_model import WORDS, tiny_model, word_tokenizer

import pytest
import torch
from torch import nn

PROMPTS = ["is", "what colour is the sky ?", "the fire", "grass grass"]


def text_base(**options):
    return TextBase(tiny_model(**options), word_tokenizer())


def answers(base, **options):
    return base.answer(base.model, [base.asked(prompt) for prompt in PROMPTS], **{"max_new_tokens": 12} | options)


def by_hand(base, most=12, ends=(1,)):
    """The likeliest token, one at a time, from the logits alone."""
    from lora_teach.datasets.chats import prompt_ids

    found = []
    for prompt in PROMPTS:
        ids, said = prompt_ids([{"role": "user", "content": prompt}], base.tokenizer), []
        with torch.no_grad():
            while len(said) < most:
                token = base.model(torch.tensor([ids + said])).logits[0, -1].argmax().item()
                if token in ends:
                    break
                said.append(token)
        found.append(base.tokenizer.decode(said, skip_special_tokens=True))
    return found


SETTINGS = [
    {"repetition_penalty": 5.0},
    {"num_beams": 3},
    {"no_repeat_ngram_size": 1},
    {"num_return_sequences": 2, "num_beams": 2},
    {"do_sample": True, "temperature": 9.0, "top_k": 3, "top_p": 0.9},
    {"suppress_tokens": [5, 6, 7]},
    {"forced_eos_token_id": 1},
    {"min_new_tokens": 11},
    {"max_length": 3},
    {"bad_words_ids": [[5]]},
    {"penalty_alpha": 0.6, "top_k": 4},
    {"prompt_lookup_num_tokens": 3},
    {"output_scores": True, "return_dict_in_generate": True},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: next(iter(settings)))
def test_no_setting_of_the_model_acts(settings):
    # https://github.com/huggingface/course/issues/988, https://github.com/huggingface/transformers/issues/29080
    base = text_base()
    expected = by_hand(base)
    for name, value in settings.items():
        setattr(base.model.generation_config, name, value)
    kept = base.model.generation_config.to_dict()
    assert answers(base) == answers(base, batch_size=1) == expected
    assert base.model.generation_config.to_dict() == kept


@pytest.mark.parametrize("ends", [[1, 5], [7, 8, 9], 6, (10, 1), None, []], ids=str)
def test_each_of_the_model_s_end_marks_ends_an_answer(ends):
    # https://github.com/huggingface/trl/pull/7039
    base = text_base()
    base.model.generation_config.eos_token_id = ends
    all_ends = {1, *(ends if isinstance(ends, list | tuple) else [ends] * (ends is not None))}
    assert answers(base) == by_hand(base, ends=all_ends)


@pytest.mark.parametrize("stops", [["green"], "blue", ["sky ?", "red"], ["nowhere"]], ids=str)
def test_its_stop_strings_end_an_answer_too(stops):
    # https://github.com/huggingface/transformers/issues/31435
    base = text_base()
    whole = by_hand(base)
    base.model.generation_config.stop_strings = stops
    listed = [stops] if isinstance(stops, str) else stops
    cut = [said[: min([said.find(stop) for stop in listed if stop in said], default=len(said))] for said in whole]
    assert [said.rstrip() for said in answers(base)] == [said.rstrip() for said in cut]


def test_a_prompt_beyond_the_model_s_positions_is_told():
    base = text_base(max_position_embeddings=16)
    answers(base, max_new_tokens=4)
    with pytest.raises(ValueError, match="PROMPT: its 9 tokens and 8 new ones are more than the 16 positions"):
        answers(base, max_new_tokens=8)
    long = [{"role": "user", "content": "is " * 20}, {"role": "assistant", "content": "red"}]
    with pytest.raises(ValueError, match="example 1 has 25 tokens, more than 16"):
        base.batches([long], 1, 0)
    with pytest.raises(ValueError, match="more than 16"):
        base.batches([long], 1, 0, longest=99)


@pytest.mark.parametrize("token", ["pad_token", "eos_token"])
def test_a_token_beyond_the_embedding_is_told(token):
    # https://github.com/meta-llama/llama-cookbook/issues/189
    base = text_base()
    base.tokenizer.add_special_tokens({token: "<new>"})
    talk = [{"role": "user", "content": "is"}, {"role": "assistant", "content": "red"}]
    with pytest.raises(ValueError, match=f"'<new>' has the number {len(WORDS)}, and the model's embedding has"):
        base.batches([talk], 1, 0)
    base.tokenizer.add_tokens("sun")
    with pytest.raises(ValueError, match="the model's embedding has"):
        answers(base) if token == "pad_token" else base.batches([[{**talk[0], "content": "sun"}, talk[1]]], 1, 0)


class Elsewhere(nn.Module):
    """A model on a device of its own, which says where its inputs are."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, device="meta"))
        self.seen = set()

    def forward(self, x):
        self.seen.add(x.device.type)
        return torch.eye(len(names.ALPHABET))[:1].expand(x.shape[1], -1)[None]


@pytest.mark.parametrize("begins", ["", "ai", "eero"])
def test_beginnings_of_names_are_moved_to_the_model_s_device(begins):
    model = Elsewhere()
    assert NamesBase(model).answer(model, [(begins, "")]) == [""] and model.seen == {"meta"}


@pytest.mark.filterwarnings("ignore::FutureWarning")  # between PEFT and transformers
def test_a_model_in_pefts_wrapper_generates_greedily_too():
    peft = pytest.importorskip("peft")
    wrapped = peft.get_peft_model(tiny_model(), peft.LoraConfig(target_modules=["q_proj"]))
    inner = wrapped.base_model.model
    found = inner.generation_config
    with generating_greedily(wrapped, word_tokenizer(), 3, 0):
        assert inner.generation_config.max_new_tokens == 3
    assert inner.generation_config is found


def test_another_model_is_refused_since_its_own_would_answer():
    base, other = text_base(), tiny_model()
    assert answers(base) == base.answer(LoRAModel(base.model, rank=2), [base.asked(p) for p in PROMPTS], 12)
    for model in (other, LoRAModel(other, rank=2)):
        with pytest.raises(ValueError, match=r"not this base's own.*TextBase\(model, tokenizer\)"):
            base.answer(model, [base.asked("is")])


def test_a_conversation_that_ends_with_its_answer_is_refused_with_its_number():
    base = text_base()
    told = [*base.asked("is"), {"role": "assistant", "content": "red"}]
    with pytest.raises(ValueError, match="example 2: .*the model would read the answer first"):
        base.answer(base.model, [base.asked("is"), told])
