"""Regular expressions from a file: one that would take for ever is refused before it is used."""

import json
import re
import subprocess
import sys

SECONDS = 5.0
TRIAL = """
import json, re, sys
expressions, names = json.load(sys.stdin)
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
    risky = [one for one in expressions if _might_be_slow(one)]
    if not risky:
        return
    try:
        given = json.dumps([risky, list(names)])
        command = [sys.executable, "-I", "-S", "-c", TRIAL]
        subprocess.run(command, input=given, text=True, capture_output=True, timeout=SECONDS, check=False)
    except (subprocess.TimeoutExpired, OSError):
        shown = min(risky, key=len)
        raise ValueError(
            f"{where}: the regular expressions, such as {shown[:80]!r}, take more than {SECONDS:g} seconds on the "
            "layers' names. Use a list of names instead."
        ) from None


def _might_be_slow(expression):
    """Tell whether ``expression`` repeats a group, or more than two other things: what remains is at worst cubic."""
    bare = re.sub(r"\\.|\(\?", lambda found: "(" if found[0] == "(?" else "x", expression)
    return len(re.findall(r"[*+?{]", bare)) > 2 or re.search(r"\)\s*[*+?{]|#", bare) is not None
