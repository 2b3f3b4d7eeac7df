"""Conversations: read line by line, masked so that only what the assistant says counts."""

import json

from lora_teach.datasets.chats import IGNORED, ChatBatches, encode, pad, prompt_ids, read_jsonl

import pytest
import torch

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }} <end>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
WORDS = "<pad> <end> <unk> <system> <user> <assistant> be kind one two three four five".split()


def words(template=TEMPLATE, pad_token="<pad>"):
    """A tokenizer whose tokens are words, which needs no download."""
    plain = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    plain.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, eos_token="<end>", pad_token=pad_token, unk_token="<unk>"
    )
    made.chat_template = template
    return made


def said(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


def counted(ids, labels, tokenizer):
    """The words that count, in order."""
    assert len(ids) == len(labels) and all(label in (IGNORED, token) for token, label in zip(ids, labels, strict=True))
    return [WORDS[label] for label in labels if label != IGNORED]


def write(path, *lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("template", [TEMPLATE, None], ids=["template", "none"])
def test_the_answer_and_its_end_mark_count_and_nothing_else(template):
    tokenizer = words(template)
    ids, labels = encode(said(("system", "be kind"), ("user", "one two"), ("assistant", "three four")), tokenizer)
    assert counted(ids, labels, tokenizer) == ["three", "four", "<end>"]
    assert ids[: labels.index(WORDS.index("three"))] == prompt_ids(
        said(("system", "be kind"), ("user", "one two")), tokenizer
    )


@pytest.mark.parametrize("template", [TEMPLATE, None], ids=["template", "none"])
def test_every_answer_of_a_longer_conversation_counts(template):
    tokenizer = words(template)
    talk = said(("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four five"))
    assert counted(*encode(talk, tokenizer), tokenizer) == ["two", "<end>", "four", "five", "<end>"]


def test_what_a_template_writes_after_the_end_mark_does_not_count():
    tokenizer = words(TEMPLATE.replace("<end>\n", "<end> five\n"))
    assert counted(*encode(said(("user", "one"), ("assistant", "two")), tokenizer), tokenizer) == ["two", "<end>"]


def test_an_end_mark_that_the_template_lacks_is_added():
    tokenizer = words(TEMPLATE.replace(" <end>", ""))
    ids, labels = encode(said(("user", "one"), ("assistant", "two")), tokenizer)
    assert counted(ids, labels, tokenizer) == ["two", "<end>"] and ids[-1] == WORDS.index("<end>")


def test_a_template_that_rewrites_what_was_said_is_refused():
    shy = (
        "{% for m in messages %}{% if not loop.last %}{{ m['content'] }} {% endif %}{% endfor %}{{ messages[-1].role }}"
    )
    with pytest.raises(ValueError, match="this chat template writes a conversation differently"):
        encode(said(("user", "one"), ("assistant", "two")), words(shy))


def test_a_tokenizer_without_an_end_mark_is_refused():
    tokenizer = words()
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no end-of-text token"):
        encode(said(("user", "one"), ("assistant", "two")), tokenizer)


@pytest.mark.parametrize("pad_token", ["<pad>", "<end>", None])
def test_padding_is_neither_read_nor_counted_and_the_end_mark_is_also_where_it_pads(pad_token):
    tokenizer = words(pad_token=pad_token)
    examples = [said(("user", "one"), ("assistant", "two")), said(("user", "one two three"), ("assistant", "four"))]
    (batch,) = ChatBatches(examples, tokenizer, batch_size=2)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == batch["labels"].shape
    for row in range(2):
        real = batch["attention_mask"][row].bool()
        assert (batch["labels"][row][~real] == IGNORED).all()
        assert (batch["labels"][row] == tokenizer.eos_token_id).sum() == 1
    left = pad([([3, 4], [3, 4]), ([5], [5])], 0, side="left")
    assert left["input_ids"].tolist() == [[3, 4], [0, 5]] and left["attention_mask"].tolist() == [[1, 1], [0, 1]]


def test_a_padded_batch_has_the_gradient_of_single_examples():
    tokenizer = words(pad_token="<end>")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    model = transformers.LlamaForCausalLM(config).double()
    talks = [
        said(("user", "one"), ("assistant", "two three")),
        said(("user", "four five one two"), ("assistant", "be")),
    ]
    (batch,) = ChatBatches(talks, tokenizer, batch_size=2)
    model(**batch).loss.backward()
    together = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    total, count = 0.0, 0
    for talk in talks:  # each alone, unpadded; the loss written out over the words that count
        ids, labels = encode(talk, tokenizer)
        logits = model(torch.tensor([ids])).logits[0]  # (seq, vocabulary)
        for place, label in enumerate(labels):
            if label != IGNORED:
                total = total - logits[place - 1].log_softmax(-1)[label]
                count += 1
    (total / count).backward()
    assert count == 5
    for one, both in zip(model.parameters(), together, strict=True):
        assert torch.allclose(one.grad, both, atol=1e-7)  # transformers' loss is float32


def test_batches_repeat_and_are_shuffled_by_seed():
    tokenizer = words()
    talks = [said(("user", " ".join(["one"] * n)), ("assistant", "two")) for n in range(1, 8)]
    first, other = ChatBatches(talks, tokenizer, 3, seed=0), ChatBatches(talks, tokenizer, 3, seed=1)
    assert len(first) == 3 and [len(batch["labels"]) for batch in first] == [3, 3, 1]
    assert all(torch.equal(a["input_ids"], b["input_ids"]) for a, b in zip(first, first, strict=True))
    assert any(a["input_ids"].shape != b["input_ids"].shape for a, b in zip(first, other, strict=True))
    with pytest.raises(ValueError, match="batch_size=0"):
        ChatBatches(talks, tokenizer, 0)
    with pytest.raises(ValueError, match="example 7 has 12 tokens, more than 11"):
        ChatBatches(talks, tokenizer, longest=11)


def test_what_is_too_long_loses_its_end_where_that_is_asked_for():
    tokenizer = words()
    talks = [
        said(("user", "one"), ("assistant", "two")), said(("user", "one"), ("assistant", " ".join(["two"] * 9))),
        said(("user", " ".join(["one"] * 9)), ("assistant", "two")),
    ]  # fmt: skip
    whole = [encode(talk, tokenizer) for talk in talks]
    lengths = [len(ids) for ids, _ in whole]
    batches = ChatBatches(talks, tokenizer, 3, longest=lengths[0], cut=True)
    (batch,) = batches
    assert batches.shortened == [("example 2", lengths[1]), ("example 3", lengths[2])]
    assert batches.left_out == ["example 3"]  # nothing of its answer would be left
    assert sorted(batch["input_ids"].tolist()) == sorted(ids[: lengths[0]] for ids, _ in whole[:2])
    assert sorted(batch["labels"].tolist()) == sorted(labels[: lengths[0]] for _, labels in whole[:2])
    kept = ChatBatches(talks, tokenizer, 3, longest=max(lengths), cut=True)
    assert kept.shortened == [] and kept.left_out == []
    with pytest.raises(ValueError, match="3 tokens leave nothing to learn of any example"):
        ChatBatches(talks, tokenizer, 3, longest=3, cut=True)


def test_prompts_and_conversations_are_read(tmp_path):
    path = write(
        tmp_path / "a.jsonl",
        {"prompt": "one", "completion": "two"},
        "",
        {"messages": said(("system", "be kind"), ("user", "zwölf"), ("assistant", "two"))},
    )
    assert read_jsonl(path) == [
        said(("user", "one"), ("assistant", "two")),
        said(("system", "be kind"), ("user", "zwölf"), ("assistant", "two")),
    ]
    asked = read_jsonl(write(tmp_path / "b.jsonl", {"prompt": "one"}, {"prompt": "x", "completion": "y"}), False)
    assert asked == [said(("user", "one")), said(("user", "x"))]
    (tmp_path / "bom.jsonl").write_bytes(b"\xef\xbb\xbf" + b'{"prompt": "one", "completion": "two"}\r\n')
    assert read_jsonl(tmp_path / "bom.jsonl") == [said(("user", "one"), ("assistant", "two"))]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"prompt": "one", "completion": ', "no JSON: .* at character"),
        ("[1, 2]", "a list where an object"),
        ("3", "a int where an object"),
        ({"prompt": "one"}, '"completion" is missing'),
        ({"completion": "one"}, 'neither "prompt" nor "messages": the keys are \'completion\''),
        ({}, "the keys are none"),
        ({"prompt": 3, "completion": "x"}, "the user's text is 3"),
        ({"prompt": "x", "completion": "  "}, "the assistant's text is"),
        ({"messages": []}, "give a list of at least one message"),
        ({"messages": "one"}, "give a list of at least one message"),
        ({"messages": ["one"]}, 'needs "role" and "content"'),
        ({"messages": [{"role": "robot", "content": "x"}]}, "the role 'robot' is unknown. Use one of system, user"),
        ({"messages": [{"role": "user", "content": "x"}]}, "the last message is the user's: nothing to learn"),
    ],
    ids=lambda value: None if isinstance(value, str) else json.dumps(value)[:30],
)  # fmt: skip
def test_a_bad_line_is_named_by_file_and_number(line, words, tmp_path):
    path = write(tmp_path / "bad.jsonl", {"prompt": "one", "completion": "two"}, "", line)
    with pytest.raises(ValueError, match=f"bad.jsonl, line 3: .*{words}"):
        read_jsonl(path)


def test_bytes_that_are_no_text_a_missing_file_and_an_empty_one_are_told(tmp_path):
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "caf\xe9", "completion": "x"}')
    with pytest.raises(ValueError, match=r"line 1: the text is not UTF-8 \(byte 15"):
        read_jsonl(tmp_path / "latin.jsonl")
    with pytest.raises(FileNotFoundError, match="none.jsonl is not there"):
        read_jsonl(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="holds no example"):
        read_jsonl(write(tmp_path / "empty.jsonl", "", "  "))
    with pytest.raises(ValueError, match="no message to answer"):
        read_jsonl(write(tmp_path / "answer.jsonl", {"messages": said(("assistant", "x"))}), completions=False)


def test_batches_of_few_lengths_hold_the_same_tokens_and_no_more_that_count():
    texts = ["one", "one two three", "one two three four five one two"]
    examples = [said(("user", text), ("assistant", "two")) for text in texts * 3]
    plain, filled = (ChatBatches(examples, words(), 2, longest=13, multiple=multiple) for multiple in (1, 8))
    assert {batch["input_ids"].shape[1] for batch in filled} <= {8, 13}  # the longest that there may be, at most
    for one, two in zip(plain, filled, strict=True):
        for key, rest in (("input_ids", 0), ("attention_mask", 0), ("labels", IGNORED)):
            seq = one[key].shape[1]
            assert torch.equal(two[key][:, :seq], one[key]) and (two[key][:, seq:] == rest).all()
    with pytest.raises(ValueError, match="multiple=0 is too small"):
        ChatBatches(examples, words(), multiple=0)
