"""Regular expressions of names, matched under a time limit: some of a dozen characters would take for ever."""

import re
from functools import lru_cache

import regex

SECONDS = 2.0  # of CPU time, since a busy machine is no fault of the expression
LONGEST = 50_000  # characters; a thousand layers named one by one have no more
MOST_CLASSES = 100  # such as [a-z]; one alone may take 10 ms to compile, which can't be stopped


def fullmatch(expression, name):
    """Tell whether ``expression`` matches the whole ``name``, as ``re`` does; ValueError if that takes `SECONDS`."""
    try:
        return compiled(expression).fullmatch(name, timeout=SECONDS) is not None
    except TimeoutError:
        raise ValueError(
            f"the regular expression {expression[:80]!r} takes more than {SECONDS:g} seconds on {name[:80]!r}. "
            "Use a list of names instead."
        ) from None


def ending(key):
    """Return the expression of the names whose end ``key`` matches: PEFT's rule for rank_pattern."""
    return rf"(.*\.)?({key})$"


@lru_cache(maxsize=65536)  # for adapters with a rank for every layer
def compiled(expression):
    """Compile ``expression``; ValueError if it is broken or too long."""
    if len(expression) > LONGEST:
        raise ValueError(f"a regular expression of {len(expression):,} characters is too long. Use a list of names.")
    if expression.count("[") > MOST_CLASSES:
        raise ValueError(f"a regular expression of more than {MOST_CLASSES} character classes. Use a list of names.")
    try:
        re.compile(expression)  # what counts as broken is re's word, as in PEFT
        return regex.compile(re.sub(r"\\.|\{(?!\d*,?\d*\})", _literal, expression, flags=re.DOTALL))
    except (re.error, regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the regular expression {expression[:80]!r} is broken ({error})") from None


def _literal(found):
    """Return a brace as a literal: in re it is one where no count follows; regex takes {e<=1} for a fuzzy match."""
    return r"\{" if found[0] == "{" else found[0]
