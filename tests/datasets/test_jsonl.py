"""What a line of a file says is followed, or refused with the file and the line."""

import json

from lora_teach.datasets.chats import ChatBatches, encode, read_jsonl
from lora_teach.datasets.jsonl import read_objects
from tests.tiny_language_model import WORDS, word_tokenizer

import pytest

USER, ANSWER = {"role": "user", "content": "is"}, {"role": "assistant", "content": "red"}
PAIR = {"prompt": "is", "completion": "red"}


def write(path, *lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return path


def learnt(example):
    _, labels = encode(example, word_tokenizer())
    return [WORDS[label] for label in labels if label >= 0]


@pytest.mark.parametrize("weight", [0, 0.0, False])
def test_an_answer_of_weight_0_is_read_and_not_learnt(weight, tmp_path):
    # https://github.com/axolotl-ai-cloud/axolotl/pull/1703
    talk = [USER, ANSWER | {"weight": weight}, USER, {"role": "assistant", "content": "blue green", "weight": 1}]
    (example,) = read_jsonl(write(tmp_path / "a.jsonl", {"messages": talk}))
    assert learnt(example) == ["blue", "green", "<end>"]
    ids, _ = encode(example, word_tokenizer())
    assert [WORDS[id] for id in ids].count("red") == 1
    greeting = [ANSWER | {"weight": weight}, USER, ANSWER]
    (example,) = read_jsonl(write(tmp_path / "b.jsonl", {"messages": greeting}))
    assert learnt(example) == ["red", "<end>"]


def test_a_system_text_beside_a_prompt_is_said_first(tmp_path):
    (example,) = read_jsonl(write(tmp_path / "a.jsonl", PAIR | {"system": "the sky"}))
    assert [message["role"] for message in example] == ["system", "user", "assistant"]
    (asked,) = read_jsonl(tmp_path / "a.jsonl", completions=False)
    assert [message["role"] for message in asked] == ["system", "user"]


NOT_FOLLOWED = {
    "weight": {"messages": [USER, ANSWER | {"weight": 0.5}]},
    "weight_text": {"messages": [USER, ANSWER | {"weight": "0"}]},
    "weight_nan": {"messages": [USER, ANSWER | {"weight": float("nan")}]},
    "weight_of_the_user": {"messages": [USER | {"weight": 1}, ANSWER]},
    "no_weight_at_all": {"messages": [USER, ANSWER | {"weight": 0}]},
    # https://github.com/MakazhanAlpamys/Soup/pull/733: the train field was dropped without a word
    "train": {"messages": [USER, ANSWER | {"train": False}]},
    "tool_calls": {"messages": [USER, ANSWER | {"tool_calls": [{"type": "function"}]}]},
    "name": {"messages": [USER | {"name": "Ann"}, ANSWER]},
    "reasoning": {"messages": [USER, ANSWER | {"reasoning_content": "hm"}]},
    "tools": {"messages": [USER, ANSWER], "tools": [{"type": "function"}]},
    "functions": PAIR | {"functions": [{}]},
    "both": PAIR | {"messages": [USER, ANSWER]},
    "system_beside_messages": {"system": "the sky", "messages": [USER, ANSWER]},
    "input": PAIR | {"input": "the grass"},
    "undesirable": PAIR | {"label": False},
    "rejected": PAIR | {"rejected": "blue"},
    "system_prompt": PAIR | {"system_prompt": "the grass"},
    "reasoning_beside": PAIR | {"reasoning": "hm"},
    "sample_weight": PAIR | {"sample_weight": 0},
    "template": {"messages": [USER, ANSWER], "chat_template_kwargs": {"enable_thinking": False}},
    "parts": {"messages": [USER, ANSWER | {"content": [{"type": "text", "text": "red"}]}]},
    "twice": '{"prompt": "is", "completion": "red", "completion": "blue"}',
    "digits": '{"prompt": "is", "completion": ' + "9" * 5000 + "}",
    "half": '{"prompt": "is", "completion": "\\ud800"}',
    "half_of_the_system": '{"prompt": "is", "system": "\\udfff", "completion": "red"}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("line", NOT_FOLLOWED.values(), ids=NOT_FOLLOWED)
def test_what_would_be_lost_is_refused_with_file_and_line(line, tmp_path):
    path = write(tmp_path / "a.jsonl", PAIR, line)
    with pytest.raises(ValueError, match=r"a.jsonl, line 2: .+"):
        read_jsonl(path)


def test_notes_and_empty_fields_are_let_be(tmp_path):
    noted = PAIR | {"id": 3, "subject": "sky", "tools": None, "system": None, "images": []}
    talk = {"messages": [USER | {"name": None, "id": 7}, ANSWER | {"tool_calls": []}], "source": "me"}
    assert read_jsonl(write(tmp_path / "a.jsonl", noted, talk)) == [[USER, ANSWER], [USER, ANSWER]]


def test_any_bytes_are_told_or_read(tmp_path):
    # https://github.com/hiyouga/LlamaFactory/issues/7016
    good = json.dumps(PAIR).encode()
    for name, contents, words in (
        ("utf16", json.dumps(PAIR).encode("utf-16"), "line 1: the text is not UTF-8"),
        ("nul", good + b"\n\x00\n", "line 2: no JSON"),
        ("gbk", '{"prompt": "你", "completion": "好"}'.encode("gbk"), "line 1: the text is not UTF-8"),
        ("array", b"[" + good + b"]", "line 1: a list where an object"),
        ("pointer", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ):
        (tmp_path / name).write_bytes(contents)
        with pytest.raises(ValueError, match=words):
            read_jsonl(tmp_path / name)
    (tmp_path / "fine").write_bytes(b"\xef\xbb\xbf" + good + b"\r\n\r\n" + good)
    assert read_jsonl(tmp_path / "fine") == [[USER, ANSWER]] * 2
    for wrong, words in ((tmp_path, "is a folder"), (tmp_path / "none", "is not there")):
        with pytest.raises(FileNotFoundError, match=words):
            read_objects(wrong)


def test_what_shows_only_in_tokens_is_told_with_file_and_line(tmp_path):
    path = write(tmp_path / "a.jsonl", PAIR, {"prompt": "is", "completion": "red " * 30})
    with pytest.raises(ValueError, match=r"a.jsonl, line 2 has \d+ tokens, more than 20"):
        ChatBatches(read_jsonl(path), word_tokenizer(), longest=20)
    path = write(tmp_path / "b.jsonl", PAIR, {"prompt": "is", "completion": "red <end> blue"})
    with pytest.raises(ValueError, match="b.jsonl, line 2: the assistant's text spells '<end>'"):
        ChatBatches(read_jsonl(path), word_tokenizer())
    path = write(tmp_path / "c.jsonl", {"messages": [ANSWER, USER, ANSWER]})
    with pytest.raises(ValueError, match="c.jsonl, line 1: the assistant speaks first"):
        ChatBatches(read_jsonl(path), word_tokenizer())
