"""What the commands share: bad input in one line, results in any encoding, and the base."""

import re
import sys
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from lora_teach.bases.registry import load_base
from lora_teach.utils.processes import is_writer, place

ENDED = re.compile("Connection (closed|reset) by peer|Connection reset|Socket closed|Broken pipe")  # of gloo
PLAIN = str.maketrans({"‖": "|", "Δ": "d"})


class BadInput(Exception):
    """What the user gave can't be used; the message is the line that is shown."""


def load(name, quantize=None):
    """Return the base that ``--base`` names, quantised as ``--quantize`` says."""
    with about("--base", name):
        return load_base(name, say, quantize)


@contextmanager
def about(option, value):
    """Within the block an error says which option it is about, and what was given."""
    try:
        yield
    except Exception as error:
        said = in_words(error)
        raise BadInput(f"{option}: {said}" if said.startswith(str(value)) else f"{option} {value}: {said}") from error


def in_words(error):
    """Return one line; the kind of an error, if it is not one that we or the system put into words."""
    words = " ".join(str(error).split())
    known = isinstance(error, BadInput | OSError | ValueError | TypeError | ArithmeticError)
    return words if words and known else f"{type(error).__name__}: {words} (--debug shows where)"


def files_of(folder):
    """List the files of a folder that is given as an option, if it is one."""
    return list(Path(folder).iterdir()) if folder is not None and Path(folder).is_dir() else []


def digest(file):
    """Return the SHA-256 of a file's contents."""
    return sha256(Path(file).read_bytes()).hexdigest()


def print_result(text, plain=None):
    """Print ``text``, or in its place, where the output's encoding lacks a sign of it, what says the same in ASCII."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = plain or text.translate(PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    print(text, flush=True)


def say(line):
    """Tell the user a line, on stderr: results go to stdout."""
    if is_writer():
        print(line, file=sys.stderr, flush=True)


def say_error(command, error):
    """Tell the user why a command failed, in whichever process it did."""
    number, among = place()
    who = f"process {number}: " if among > 1 else ""
    told = "another process has ended, so this one does" if ENDED.search(str(error)) else in_words(error)
    if not getattr(error, "of_process_0", False):
        print(f"{who}lora_teach {command}: {told}", file=sys.stderr, flush=True)
