"""Conversations to fine-tune a language model on: put into the model's chat form, masked, batched.

Each line of the file is one example, ``{"prompt": …, "completion": …}`` or ``{"messages": [{"role": …, "content": …},
…]}`` with the roles system, user and assistant. The loss counts what the assistant says and its end mark, nothing else;
an answer with ``"weight": 0`` is read and not learnt.
"""

import re

from lora_teach.datasets.jsonl import counts, located, place_of, read_jsonl
from lora_teach.utils.validation import check_count

import torch

IGNORED = -100  # the label of a token that doesn't count
LONGEST = 2048  # tokens of an example, unless it is said otherwise

__all__ = ["IGNORED", "LONGEST", "ChatBatches", "encode", "marks_of", "pad", "padding", "prompt_ids", "read_jsonl"]


def encode(messages, tokenizer, marks=None):
    """Return one conversation as ``(input_ids, labels)``, two lists of token ids of the same length.

    The labels are the input ids where the assistant speaks, up to and with its end mark, and -100 elsewhere; the model
    shifts them by itself, as all of transformers' do.

    Args:
        messages: From `read_jsonl`.
        tokenizer: transformers' own. Its chat template is applied; without one, texts follow each other line by line,
            after the mark that the tokenizer puts before every text.
        marks: From `marks_of`, which is quicker for many examples.

    Raises:
        ValueError: A text that spells one of the marks between messages; a conversation that the chat template refuses,
            does not tell in full, or rewrites when a message is added; an assistant that speaks first; no end-of-text
            token.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no end-of-text token, so a model could not learn to stop. Set eos_token.")
    _check_no_marks(messages, tokenizer, marks)
    _check_all_told(messages, tokenizer)
    ids, labels = [], []
    for index, message in enumerate(messages):
        if not counts(message):
            continue
        if index == 0:
            raise ValueError("the assistant speaks first, to nobody. Begin with the user's message.")
        before = _ids(messages[:index], tokenizer, add_generation_prompt=True)
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


def prompt_ids(messages, tokenizer, marks=None):
    """Return the token ids after which the assistant's answer begins; ValueError as of `encode`, or if it is there."""
    _check_no_marks(messages, tokenizer, marks)
    if messages and messages[-1]["role"] == "assistant":
        raise ValueError("its last message is the assistant's: the model would read the answer first. Leave it out.")
    _check_all_told(messages, tokenizer)
    return _ids(messages, tokenizer, add_generation_prompt=True)


def _ids(messages, tokenizer, add_generation_prompt=False):
    if tokenizer.chat_template:
        how = {"add_generation_prompt": add_generation_prompt, "tokenize": True, "return_dict": True}
        return _templated(messages, tokenizer, **how)["input_ids"]
    ids = _start(tokenizer)
    for message in messages:
        answer = message["role"] == "assistant"
        text = message["content"] if answer else message["content"] + "\n"
        ids += tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] * answer
    return ids


def _templated(messages, tokenizer, **how):
    plain = [{"role": message["role"], "content": message["content"]} for message in messages]
    try:
        return tokenizer.apply_chat_template(plain, **how)
    except Exception as error:  # a template is a program, which may raise anything
        raise ValueError(f"the model's chat template refuses this conversation: {error}") from error


def _check_all_told(messages, tokenizer):
    """Raise ValueError if the chat template leaves out what the system or a user says."""
    whole = _templated(messages, tokenizer, tokenize=False) if tokenizer.chat_template else None
    for message in messages:
        if whole is not None and message["role"] != "assistant" and message["content"].strip() not in whole:
            raise ValueError(
                f"the model's chat template leaves out or rewrites the {message['role']}'s text, so the model would "
                "not read it as it stands. Use a conversation that the template tells in full, or another template."
            )


def _start(tokenizer):
    """Return the ids of the marks, such as ``<s>``, that the tokenizer puts before every text."""
    marked = tokenizer("a", return_special_tokens_mask=True)
    added = marked["special_tokens_mask"]
    return marked["input_ids"][: added.index(0)] if 0 in added else []


def marks_of(tokenizer):
    """Return ``(ids, texts)``: special tokens, and what the chat template itself writes between and after messages."""
    ends = {tokenizer.bos_token_id, tokenizer.eos_token_id}
    ids = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special} | ends
    ids -= {tokenizer.unk_token_id} - ends  # any word may become it; spelt out it counts
    spelt = {tokenizer.unk_token} - {None}
    probes = {"onequestion": "user", "oneanswer": "assistant", "twoquestion": "user"}
    talk = [{"role": role, "content": probe} for probe, role in probes.items()]
    try:
        whole = tokenizer.apply_chat_template(talk, add_generation_prompt=True, tokenize=False)
    except Exception:  # no template, or one that will refuse the conversation itself too
        return ids, spelt
    between = re.split("|".join(probes), whole)[1:]
    lines = {line.strip() for text in between for line in text.splitlines()}
    tags = {tag for text in between for tag in re.findall(r"<[^<>\s]+>|\[[^\[\]\s]+\]", text)}  # <|user|>, [/INST]
    return ids, spelt | tags | {line for line in lines if len(line) > 2 and not line.isalnum()}


def _check_no_marks(messages, tokenizer, marks):
    """Raise ValueError if a text spells a mark that would end or forge a turn."""
    ids, texts = marks or marks_of(tokenizer)
    for message in messages:
        text = message["content"]
        found = [mark for mark in texts if mark in text]
        spelt = tokenizer(text, add_special_tokens=False)["input_ids"]
        found += tokenizer.convert_ids_to_tokens([id for id in spelt if id in ids])
        if found:
            raise ValueError(
                f"the {message['role']}'s text spells {found[0]!r}, which this model takes for the mark between two "
                "messages or texts, not for text. Write it differently."
            )


def pad(encoded, pad_id, side="right", length=0):
    """Return a batch as a model takes it: ``{"input_ids", "attention_mask", "labels"}``, int64 ``(batch, seq)`` each.

    Args:
        encoded: Pairs from `encode`.
        pad_id: The token that fills up; its label is -100 and its attention 0, also where it is the end mark.
        side: "right" to train, "left" to generate.
        length: Tokens to fill every row up to, if the longest has fewer.
    """
    longest = max(length, *(len(ids) for ids, _ in encoded))
    rows = {"input_ids": [], "attention_mask": [], "labels": []}
    for ids, labels in encoded:
        fill = longest - len(ids)
        for key, values, filler in (
            ("input_ids", ids, pad_id), ("attention_mask", [1] * len(ids), 0), ("labels", labels, IGNORED),
        ):  # fmt: skip
            rows[key].append([*values, *[filler] * fill] if side == "right" else [*[filler] * fill, *values])
    return {key: torch.tensor(values) for key, values in rows.items()}


def padding(tokenizer):
    """Return the id of the token that fills up a batch: the tokenizer's pad token, or else its end mark."""
    for found in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if found is not None:
            return found
    raise ValueError("the tokenizer has neither a pad token nor an end-of-text token. Set eos_token.")


class ChatBatches:
    """Batches in a shuffled order that is the same in every pass; can be iterated again and again.

    Args:
        examples: From `read_jsonl`.
        tokenizer: As for `encode`.
        batch_size: Examples in a batch; the last one of a pass may be smaller.
        seed: Decides the order.
        longest: Most tokens of an example.
        cut: Whether a longer example loses its end, instead of being refused. Without its end mark it does not teach
            to stop; if nothing of its answers is left, it is left out.
        multiple: Each batch is filled up to a multiple of so many tokens, ``longest`` at most, so that there are few
            lengths: for ``train(…, capture=True)``.

    Attributes:
        shortened: ``[(where, tokens), …]``: the examples that were longer, with all that they had.
        left_out: ``[where, …]``: those of them that were left out.

    Raises:
        ValueError: An example that `encode` refuses or that is longer than ``longest``; the message says where it is.
    """

    def __init__(self, examples, tokenizer, batch_size=6, seed=0, longest=LONGEST, cut=False, multiple=1):
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} leaves a batch empty. Use 1 or more.")
        check_count("multiple", multiple)
        self.shortened, self.left_out = [], []
        encoded, marks = [], marks_of(tokenizer)
        for number, messages in enumerate(examples, start=1):
            with located(messages, number):
                ids, labels = encode(messages, tokenizer, marks)
            if len(ids) > longest:
                where = place_of(messages, number)
                if not cut:
                    raise ValueError(
                        f"{where} has {len(ids)} tokens, more than {longest}. Shorten it, or allow more: longest, or "
                        "--max-length."
                    )
                self.shortened.append((where, len(ids)))
                ids, labels = ids[:longest], labels[:longest]
                if all(label == IGNORED for label in labels[1:]):  # the first label is never learnt
                    self.left_out.append(where)
                    continue
            encoded.append((ids, labels))
        if self.left_out and not encoded:
            raise ValueError(
                f"{longest} tokens leave nothing to learn of any example: each answer begins later. Allow more: "
                "longest, or --max-length."
            )
        order = torch.randperm(len(encoded), generator=torch.Generator().manual_seed(seed)).tolist()
        shuffled = [encoded[index] for index in order]
        self._batches = []
        for start in range(0, len(shuffled), batch_size):
            chosen = shuffled[start : start + batch_size]
            most = max(len(ids) for ids, _ in chosen)
            length = min(longest, -(-most // multiple) * multiple)  # rounded up
            self._batches.append(pad(chosen, padding(tokenizer), length=length))

    def __iter__(self):
        return iter(self._batches)

    def __len__(self):
        return len(self._batches)
