"""Files that someone else wrote: what can be wrong with them is said in one sentence, a ValueError."""

import json
from collections import Counter
from pathlib import Path

LFS_POINTER = b"version https://git-lfs"


def refuse_lfs_pointer(file):
    """Raise ValueError if ``file`` holds Git LFS's pointer to its contents in place of these."""
    with Path(file).open("rb") as opened:
        if opened.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ValueError(f"{file} is a Git LFS pointer: the file itself was never fetched. Run git lfs pull.")


def parse_json(text):
    """Return what the JSON in ``text`` holds; ValueError if it is broken, nested too deeply or says a thing twice."""
    twice = []

    def once(pairs):
        held = dict(pairs)
        if len(held) < len(pairs):
            twice.append(Counter(key for key, _ in pairs).most_common(1)[0][0])
        return held

    try:
        found = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        place = f"character {error.pos + 1}" if error.lineno == 1 else f"line {error.lineno}, character {error.colno}"
        raise ValueError(f"no JSON: {error.msg}, at {place}.") from None
    except RecursionError:
        raise ValueError("no JSON that can be read: it is nested too deeply.") from None
    except ValueError:  # Python's own limit on the digits of a number
        raise ValueError("no JSON that can be read: a number has thousands of digits.") from None
    if twice:
        raise ValueError(f"it says {twice[0]!r} twice, and readers differ in which one counts. Leave one.")
    return found
