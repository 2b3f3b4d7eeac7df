"""Regular expressions from a file: one that would take for ever is refused before it is used."""

import json
import re
import subprocess
import sys

SECONDS = 2.0  # of CPU time, where the system can count it, since a busy machine is no fault of the expression
TRIAL = """
import json, re, signal, sys
seconds, expressions, names = json.load(sys.stdin)
if hasattr(signal, "setitimer"):
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
for one in expressions:
    whole, end = re.compile(one), re.compile(rf"(.*\\.)?({one})$")
    for name in names:
        whole.fullmatch(name), end.match(name)
"""


def refuse_slow(expressions, names, where):
    """Raise ValueError if matching ``expressions`` against ``names`` takes more than `SECONDS`.

    Python's ``re`` can't be interrupted, and some expressions of a dozen characters try 2ⁿ ways on a name of n. Those
    that might are tried in a process of their own first, which can be ended; the usual ones cost nothing.
    """
    names = list(names)
    unusual = max(map(len, names), default=0) > 120 or sum(map(len, names)) > 20_000
    tried = [one for one in expressions if unusual or _might_be_slow(one)]
    if not tried:
        return
    given = json.dumps([SECONDS, tried, names])
    command = [sys.executable, "-I", "-S", "-c", TRIAL]
    try:
        ended = subprocess.run(command, input=given, text=True, capture_output=True, timeout=10 * SECONDS, check=False)
        slow = (
            ended.returncode < 0
        )  # the alarm, or a crash; an expression that is broken is left to whoever compiles it
    except (subprocess.TimeoutExpired, OSError):
        slow = True
    if slow:
        raise ValueError(
            f"{where}: the regular expressions, such as {min(tried, key=len)[:80]!r}, take more than {SECONDS:g} "
            "seconds on the layers' names. Use a list of names instead."
        )


def _might_be_slow(expression):
    """Tell whether ``expression`` repeats a group, or more than two other things: what remains is at worst cubic."""
    bare = re.sub(r"\\.|\(\?", lambda found: "(" if found[0] == "(?" else "x", expression)
    return len(re.findall(r"[*+?{]", bare)) > 2 or re.search(r"\)\s*[*+?{]|#", bare) is not None
