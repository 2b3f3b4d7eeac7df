"""A language model of transformers' own, small enough for a test, in a folder as save_pretrained writes it."""

import pytest
import torch

WORDS = "<pad> <end> <unk> <user> <assistant> red blue green sky grass fire what colour is the ?".split()
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


def word_tokenizer(template=TEMPLATE, words=WORDS, start=None, **tokens):
    """A tokenizer whose tokens are words; ``start`` is a word that it puts before every text."""
    tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="<unk>"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    if start is not None:
        plain.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, words.index(start))]
        )
    tokens = {"eos_token": "<end>", "pad_token": "<pad>", "unk_token": "<unk>"} | tokens
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=plain, **tokens)
    made.chat_template = template
    return made


def tiny_model(**options):
    """A Llama of two narrow layers."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    options = {
        "vocab_size": len(WORDS), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "initializer_range": 0.3, "eos_token_id": 1, "pad_token_id": 0, "bos_token_id": 1,
    } | options  # fmt: skip
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**options)).eval()


def save_base(folder, template=TEMPLATE, **options):
    """Write both into ``folder`` and return it."""
    tiny_model(**options).save_pretrained(folder)
    word_tokenizer(template).save_pretrained(folder)
    return folder
