"""Conversations to fine-tune a language model on: read from JSONL, put into the model's chat form, masked, batched.

Each line of the file is one example, ``{"prompt": …, "completion": …}`` or ``{"messages": [{"role": …, "content": …},
…]}`` with the roles system, user and assistant. The loss counts what the assistant says and its end mark, nothing else.
"""

import json
from pathlib import Path

import torch

IGNORED = -100  # the label of a token that doesn't count
ROLES = ("system", "user", "assistant")


def read_jsonl(path, completions=True):
    """Return the examples of a file as lists of messages, ``[[{"role": …, "content": …}, …], …]``.

    Args:
        path: A file in UTF-8, one JSON object a line; empty lines are skipped.
        completions: Whether each example must end with what the assistant says; False for prompts to be answered, of
            which a completion is left out.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A line that is no such object; the message gives file, line and what is wrong.
    """
    examples = []
    for number, example in read_objects(path):
        try:
            examples.append(_messages(example, completions))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    return examples


def read_objects(path):
    """Return ``[(line number, object), …]`` of a file with one JSON object a line; empty lines are skipped.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A line that is no JSON object, or no line at all; the message gives file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there. Give a file with one JSON object a line.")
    objects = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            why = f"the text is not UTF-8 (byte {error.start} of the line). Save the file as UTF-8."
            raise ValueError(f"{path}, line {number}: {why}") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: no JSON: {error.msg}, at character {error.pos + 1}.") from None
        except RecursionError:
            raise ValueError(f"{path}, line {number}: no JSON that can be read: it is nested too deeply.") from None
        if not isinstance(found, dict):
            what = f"a {type(found).__name__} where an object with prompt and completion, or messages, belongs."
            raise ValueError(f"{path}, line {number}: {what}")
        objects.append((number, found))
    if not objects:
        raise ValueError(f'{path} holds no example. Each line is one, such as {{"prompt": "…", "completion": "…"}}.')
    return objects


def _messages(example, completions):
    if "messages" in example:
        messages = [_message(message) for message in _list(example["messages"])]
    elif "prompt" in example:
        messages = [_message({"role": "user", "content": example["prompt"]})]
        if completions and "completion" not in example:
            raise ValueError('"completion" is missing: what the model should answer.')
        if completions:
            messages.append(_message({"role": "assistant", "content": example["completion"]}))
    else:
        raise ValueError(f'neither "prompt" nor "messages": the keys are {", ".join(map(repr, example)) or "none"}.')
    if not completions and messages[-1]["role"] == "assistant":
        messages = messages[:-1]
    if not completions and not messages:
        raise ValueError('no message to answer: "messages" holds only the answer.')
    if completions and messages[-1]["role"] != "assistant":
        raise ValueError(
            f"the last message is the {messages[-1]['role']}'s: nothing to learn. End with the assistant's."
        )
    return messages


def _list(messages):
    if not isinstance(messages, list) or not messages:
        raise TypeError(f'"messages" is {json.dumps(messages)[:40]}: give a list of at least one message.')
    return messages


def _message(message):
    if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
        raise TypeError('a message needs "role" and "content".')
    role, content = message["role"], message["content"]
    if role not in ROLES:
        raise ValueError(f"the role {role!r} is unknown. Use one of {', '.join(ROLES)}.")
    if not isinstance(content, str) or not content.strip():
        raise TypeError(f"the {role}'s text is {json.dumps(content)[:40]}: give a text that is not empty.")
    return {"role": role, "content": content}


def encode(messages, tokenizer):
    """Return one conversation as ``(input_ids, labels)``, two lists of token ids of the same length.

    The labels are the input ids where the assistant speaks, up to and with its end mark, and -100 elsewhere; the model
    shifts them by itself, as all of transformers' do.

    Args:
        messages: From `read_jsonl`.
        tokenizer: transformers' own. Its chat template is applied; without one, texts follow each other line by line.

    Raises:
        ValueError: A chat template that changes what was said before when a message is added, or no end-of-text token.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no end-of-text token, so a model could not learn to stop. Set eos_token.")
    ids, labels = [], []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = prompt_ids(messages[:index], tokenizer)
        whole = _ids(messages[: index + 1], tokenizer)
        if whole[: len(before)] != before or before[: len(ids)] != ids:
            raise ValueError(
                "this chat template writes a conversation differently once an answer follows, so the answer's tokens "
                "can't be told apart. Use single-turn examples, or another template."
            )
        answer = whole[len(before) :]
        if tokenizer.eos_token_id in answer:  # what a template puts after the end mark is nobody's speech
            spoken = answer.index(tokenizer.eos_token_id) + 1
        else:
            if message is messages[-1]:
                answer = [*answer, tokenizer.eos_token_id]
            spoken = len(answer)
        labels += [IGNORED] * (len(before) - len(labels)) + answer[:spoken] + [IGNORED] * (len(answer) - spoken)
        ids = before + answer
    return ids, labels


def prompt_ids(messages, tokenizer):
    """Return the token ids after which the assistant's answer begins."""
    return _ids(messages, tokenizer, add_generation_prompt=True)


def _ids(messages, tokenizer, add_generation_prompt=False):
    if tokenizer.chat_template:
        return tokenizer.apply_chat_template(
            messages, add_generation_prompt=add_generation_prompt, tokenize=True, return_dict=True
        )["input_ids"]
    ids = []
    for message in messages:
        answer = message["role"] == "assistant"
        text = message["content"] if answer else message["content"] + "\n"
        ids += tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] * answer
    return ids


def pad(encoded, pad_id, side="right"):
    """Return a batch as a model takes it: ``{"input_ids", "attention_mask", "labels"}``, int64 ``(batch, seq)`` each.

    Args:
        encoded: Pairs from `encode`.
        pad_id: The token that fills up; its label is -100 and its attention 0, also where it is the end mark.
        side: "right" to train, "left" to generate.
    """
    longest = max(len(ids) for ids, _ in encoded)
    rows = {"input_ids": [], "attention_mask": [], "labels": []}
    for ids, labels in encoded:
        fill = longest - len(ids)
        for key, values, filler in (
            ("input_ids", ids, pad_id), ("attention_mask", [1] * len(ids), 0), ("labels", labels, IGNORED),
        ):  # fmt: skip
            rows[key].append([*values, *[filler] * fill] if side == "right" else [*[filler] * fill, *values])
    return {key: torch.tensor(values) for key, values in rows.items()}


class ChatBatches:
    """Batches in a shuffled order that is the same in every pass; can be iterated again and again.

    Args:
        examples: From `read_jsonl`.
        tokenizer: As for `encode`.
        batch_size: Examples in a batch; the last one of a pass may be smaller.
        seed: Decides the order.
        longest: Most tokens of an example.

    Raises:
        ValueError: An example that is longer than ``longest``; its number and length are given.
    """

    def __init__(self, examples, tokenizer, batch_size=6, seed=0, longest=2048):
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} leaves a batch empty. Use 1 or more.")
        encoded = [encode(messages, tokenizer) for messages in examples]
        for number, (ids, _) in enumerate(encoded, start=1):
            if len(ids) > longest:
                raise ValueError(f"example {number} has {len(ids)} tokens, more than {longest}. Shorten it.")
        order = torch.randperm(len(encoded), generator=torch.Generator().manual_seed(seed)).tolist()
        shuffled = [encoded[index] for index in order]
        pad_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self._batches = [
            pad(shuffled[start : start + batch_size], pad_id) for start in range(0, len(shuffled), batch_size)
        ]

    def __iter__(self):
        return iter(self._batches)

    def __len__(self):
        return len(self._batches)
