"""The thread of the course: the learner builds LoRA piece by piece, and later notebooks use what has passed.

In a notebook's kernel a passed piece is kept in ``my_lora.py`` beside the notebook. `mine` gives it to later notebooks,
or else the library's, and says which. Set ``LORA_TEACH_KEEP=no`` to keep nothing and to use nothing that is kept.
"""

import contextlib
import importlib
import importlib.util
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from lora_teach.exercises import my_file
from lora_teach.exercises.my_file import FILE, NotKept


@dataclass(frozen=True)
class Piece:
    """What is written in one exercise: the notebook's number, the check, and the names of what it checks."""

    notebook: str
    check: str
    names: tuple


THREAD = (
    Piece("00", "check_dial", ("dial",)),
    Piece("02", "check_layer", ("MyLayer",)),
    Piece("03", "check_overlay", ("overlay",)),
    Piece("03", "check_adapt", ("adapt",)),
    Piece("04", "check_fit", ("fit",)),
    Piece("06", "check_undo", ("merge", "unmerge")),
    Piece("09", "check_save", ("save",)),
)
OF = {name: piece for piece in THREAD for name in piece.names}
_asked = {}  # (the file's text, piece) -> whether it passes


def place():
    """Return where this notebook's pieces are kept, or None outside a notebook's kernel."""
    if os.environ.get("LORA_TEACH_KEEP") == "no" or "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return Path.cwd() / FILE if getattr(get_ipython(), "kernel", None) else None


def keep_passed(check, objects):
    """Keep what has passed this check, if it is a piece of the thread, and say so."""
    piece = next((piece for piece in THREAD if piece.check == check), None)
    file = place()
    if file is None or piece is None or any(getattr(one, "__module__", "") != "__main__" for one in objects):
        return
    try:
        said = my_file.keep(file, piece.names, piece.notebook, objects, OF)
    except (NotKept, OSError, UnicodeError) as error:
        print(f"not kept in {FILE}: {error}")
    else:
        print(f"kept in {FILE}" + (f"; {said}." if said else "."))


def mine(*names):
    """Return the learner's own pieces where they are kept and still pass, else the library's; print which.

    Args:
        names: Such as "MyLayer", "overlay".

    Returns:
        The piece, or a tuple of them if several are named.
    """
    found = load(place(), names)
    told = []
    for name in names:
        status = found[name][1]
        told.append(f"{name}: " + (f"yours, from {FILE}" if status == "yours" else f"the library's{status}"))
    print(" · ".join(told))
    given = tuple(found[name][0] for name in names)
    return given[0] if len(given) == 1 else given


def load(file, names=tuple(OF)):
    """Return ``{name: (object, "yours" or why not)}`` of these pieces; those that are kept are checked again."""
    from lora_teach.exercises import ready_made

    found = {name: (getattr(ready_made, name), "") for name in OF}
    if file is None or not file.exists():
        return found
    try:
        text = file.read_text(encoding="utf-8")
        there = {name for names in my_file.blocks(text) for name in names}
        spec = importlib.util.spec_from_file_location(file.stem, file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever an edited file raises
        why = f" ({FILE} can't be read: {type(error).__name__}, {error})"
        return {name: (one, why) for name, (one, _) in found.items()}
    for piece in THREAD:
        if there.issuperset(piece.names) and {*names, *(["MyLayer"] if "adapt" in names else [])} & {*piece.names}:
            own = [getattr(module, name, None) for name in piece.names]
            passed = _passes(text, piece, own)
            for name, one in zip(piece.names, own, strict=True):
                found[name] = (one, "yours") if passed else (found[name][0], f" (yours, in {FILE}, no longer passes)")
    if found["MyLayer"][1] == "yours" and found["adapt"][1] != "yours":
        theirs, layer = ready_made.adapt, found["MyLayer"][0]
        found["adapt"] = (lambda model, rank, alpha: theirs(model, rank, alpha, layer)), found["adapt"][1]
    return found


def _passes(text, piece, own):
    """Tell whether objects of a file with this text still pass their check, without a word; ask once."""
    if (text, piece) not in _asked:
        check = getattr(importlib.import_module("lora_teach.exercises"), piece.check)
        with contextlib.redirect_stdout(io.StringIO()):
            _asked[text, piece] = check(*own).passed
    return _asked[text, piece]


def receipt(file=None):
    """Print which pieces of LoRA are the learner's, with their lines of code, and how many lines they are together."""
    file = place() if file is None else Path(file)
    found, total = load(file), 0
    yours = any(status == "yours" for _, status in found.values())
    kept = my_file.blocks(file.read_text(encoding="utf-8")) if yours else {}
    for piece in THREAD:
        names, status = " and ".join(piece.names), found[piece.names[0]][1]
        if status == "yours":
            lines = my_file.code_lines(kept[piece.names][1])
            total += lines
            print(f"{piece.notebook}  {names:17} yours, {lines:3} lines")
        else:
            print(f"{piece.notebook}  {names:17} the library's{status}")
    count = sum(found[piece.names[0]][1] == "yours" for piece in THREAD)
    print(f"{count} of {len(THREAD)} pieces are yours" + (f": LoRA in {total} lines of your own." if count else "."))
