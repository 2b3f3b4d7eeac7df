"""Files that are whole or not there."""

import os
import uuid
from pathlib import Path


def replace_file(place, write):
    """Let ``write(path)`` write a file beside ``place``, then move it there in one go.

    A reader meets the old file or the new one, whole, also after a crash or on a full disk.
    """
    place = Path(place)
    beside = place.with_name(f".{place.name}-{uuid.uuid4().hex}")
    try:
        write(beside)
        os.replace(beside, place)
    finally:
        beside.unlink(missing_ok=True)
