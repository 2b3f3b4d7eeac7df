"""Files that are whole or not there."""

import os
import re
import shutil
import uuid
from glob import escape
from pathlib import Path


def replace_file(place, write):
    """Let ``write(path)`` write a file beside ``place``, then move it there in one go.

    A reader meets the old file or the new one, whole, also after a crash or on a full disk. What a killed process has
    left beside ``place`` is cleared away.
    """
    place = Path(place)
    _clear(place)
    # A folder, since some libraries write a temporary file of their own beside the one that they are given.
    scratch = place.with_name(f".{place.name}-{os.getpid()}-{uuid.uuid4().hex}")
    try:
        scratch.mkdir()
        write(scratch / place.name)
        os.replace(scratch / place.name, place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _clear(place):
    """Delete what a process that is no more was writing beside ``place``."""
    for left in place.parent.glob(f".{escape(place.name)}-*-*"):
        found = re.fullmatch(rf"\.{re.escape(place.name)}-(\d+)-[0-9a-f]{{32}}", left.name)
        if found and not _runs(int(found[1])):
            shutil.rmtree(left, ignore_errors=True)


def _runs(process):
    """Tell whether there is a process of this number; on Windows, where asking could end it, the answer is yes."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
