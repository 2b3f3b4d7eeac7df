"""Examples from JSONL, one JSON object a line: what is wrong is said with the file and the number of the line."""

import json
from contextlib import contextmanager
from pathlib import Path

from lora_teach.utils.reading import parse_json, refuse_lfs_pointer

ROLES = ("system", "user", "assistant")
# What other formats mean by these fields would be lost without a word. Any other field is a note, such as an id.
NOT_USED = """
    attachments audio audios chat_template_kwargs chosen context conversation conversations developer documents
    function_call functions history image images input instruction instructions label labels loss_weight mask output
    parallel_tool_calls reasoning reasoning_content rejected response response_format sample_weight suffix
    system_message system_prompt thinking tool_choice tools train train_on_input training videos weight
""".split()
NOTES = ("id", "date", "time", "timestamp", "source", "comment")  # of a message


class Example(list):
    """The messages of one example; ``where`` says which it is: its file and line."""

    def __init__(self, messages, where):
        super().__init__(messages)
        self.where = where


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
        where = f"{path}, line {number}"
        try:
            examples.append(Example(_messages(example, completions), where))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: {error}") from None
    return examples


def refuse_unused(fields, unused):
    """Raise ValueError if ``fields``, a dict, says something in one of ``unused``, which would be lost."""
    for name in unused:
        if name in fields and fields[name] not in (None, "", [], {}):
            raise ValueError(f"{name!r} is not followed here, and would be lost. Take it out.")


def _messages(example, completions):
    refuse_unused(example, NOT_USED)
    if "messages" in example:
        refuse_unused(example, [name for name in ("prompt", "completion", "system") if name in example])
        messages = [_message(message) for message in _list(example["messages"])]
    elif "prompt" in example:
        messages = [_message({"role": "user", "content": example["prompt"]})]
        if example.get("system") is not None:
            messages.insert(0, _message({"role": "system", "content": example["system"]}))
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
    if completions and not any(counts(message) for message in messages):
        raise ValueError("nothing to learn: each answer has the weight 0.")
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
    refuse_unused(message, [name for name in message if name not in ("role", "content", "weight", *NOTES)])
    read = {"role": role, "content": check_text(f"the {role}'s text", content)}
    weight = message.get("weight")
    if weight is None:
        return read
    if weight not in (0, 1) or (weight and role != "assistant"):
        limit = "Use 0 or 1." if role == "assistant" else "Only the assistant's messages count."
        raise ValueError(f"the weight {json.dumps(weight)[:40]} of the {role}'s message can't be followed. {limit}")
    return read if weight else read | {"weight": 0}


def counts(message):
    """Tell whether a message is learnt: the assistant's are, but for those of weight 0."""
    return message["role"] == "assistant" and message.get("weight", 1) != 0


def place_of(example, number=1):
    """Return where an example lies, for messages: its file and line, or its number."""
    return getattr(example, "where", f"example {number}")


@contextmanager
def located(example, number=1):
    """Within the block a ValueError says which example it is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place_of(example, number)}: {error}") from error


def read_objects(path):
    """Return ``[(line number, object), …]`` of a file with one JSON object a line; empty lines are skipped.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A line that is no JSON object, or no line at all; the message gives file and line.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is no file" if path.exists() else "is not there"
        raise FileNotFoundError(f"{path} {what}. Give a file with one JSON object a line.")
    refuse_lfs_pointer(path)
    objects = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            found = parse_json(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            why = f"the text is not UTF-8 (byte {error.start} of the line). Save the file as UTF-8."
            raise ValueError(f"{path}, line {number}: {why}") from None
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        if not isinstance(found, dict):
            what = f"a {type(found).__name__} where an object with prompt and completion, or messages, belongs."
            raise ValueError(f"{path}, line {number}: {what}")
        objects.append((number, found))
    if not objects:
        raise ValueError(f'{path} holds no example. Each line is one, such as {{"prompt": "…", "completion": "…"}}.')
    return objects


def check_text(name, value, empty=False):
    """Return ``value`` if it is a text that can be encoded; TypeError or ValueError with ``name`` otherwise."""
    if not isinstance(value, str) or not (empty or value.strip()):
        raise TypeError(f"{name} is {json.dumps(value)[:40]}: give a text{'' if empty else ' that is not empty'}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = value[error.start]
        raise ValueError(f"{name} holds half a character, {half!r}, which no encoding knows. Take it out.") from None
    return value
