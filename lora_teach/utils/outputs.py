"""Outputs are tried before the work begins, and never lie over an input or, unasked, over a file that is there."""

import tempfile
from pathlib import Path


def check_new_file(place, overwrite=False, inputs=()):
    """Return the path that a result for ``place`` is to be written to: where a link leads, if it is one.

    Args:
        place: Where it shall be.
        overwrite: Whether a file that is there may be replaced.
        inputs: Files that are read for it, which are never written over.

    Raises:
        ValueError: It can't be written, or may not; the message says why.
    """
    place = Path(place)
    if place.is_dir():
        raise ValueError(f"{place} is a folder. Name a file.")
    if place.exists() and not place.is_file():
        raise ValueError(f"{place} is a device or a pipe, not a file. Name a file.")
    _refuse_input(place, inputs)
    if (place.exists() or place.is_symlink()) and not overwrite:
        raise ValueError(f"{place} is there already. Name another file, or add --overwrite.")
    _check_replaceable(place)
    place = place.resolve()
    try_folder(place.parent)
    return place


def check_new_folder(folder, files, overwrite=False, inputs=()):
    """Raise ValueError if the ``files`` can't be written into ``folder``, or may not: see `check_new_file`.

    Args:
        folder: Where they shall lie; it may not be there yet.
        files: Their names.
        overwrite: Whether it may have contents.
        inputs: Folders that are read, which are never written into, and files, which are never written over.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is there already, and no folder. Name another.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise ValueError(f"{folder} is there already and not empty. Name another folder, or add --overwrite.")
    for one in inputs:
        same = folder.exists() and Path(one).exists() and folder.samefile(one)
        if same or folder.resolve() == Path(one).resolve():  # also where it is not there yet
            raise ValueError(f"{folder} is {one}, so nothing else is written into it. Name another folder.")
    for name in files:
        _refuse_input(folder / name, inputs)
        if (folder / name).is_dir():
            raise ValueError(f"{folder / name} is a folder, where a file is to be written. Name another folder.")
        _check_replaceable(folder / name)
    try_folder(folder)


def try_folder(folder):
    """Raise ValueError if no file can be made in ``folder``, which may not be there yet. Nothing is left behind."""
    folder, made = Path(folder), []
    try:
        for one in [*reversed(folder.parents), folder]:
            if not one.exists():
                one.mkdir()
                made.append(one)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{folder} can't be written: {error.strerror or error}. Name another place.") from None
    finally:
        for one in reversed(made):
            one.rmdir()


def _refuse_input(place, inputs):
    for one in inputs:
        if place.exists() and Path(one).exists() and place.samefile(one):
            raise ValueError(f"{place} is {one}, which is read, so it is not written over. Name another file.")


def _check_replaceable(file):
    if file.is_file() and not file.stat().st_mode & 0o222:
        raise ValueError(f"{file} is read-only. Name another place, or make it writable.")
