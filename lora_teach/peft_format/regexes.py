"""Regular expressions from a file: one that would take for ever is refused before it is used."""

import time

from lora_teach.utils import patterns


def refuse_slow(expressions, names, where):
    """Raise ValueError if matching ``expressions`` against ``names`` takes more than `patterns.SECONDS` in all."""
    left = patterns.SECONDS
    for expression in expressions:
        for tried in (expression, patterns.ending(expression)):
            for name in names:
                started = time.process_time()
                try:
                    patterns.compiled(tried).fullmatch(name, timeout=max(left, 1e-6))
                except TimeoutError:
                    raise ValueError(
                        f"{where}: the regular expressions, such as {expression[:80]!r}, take more than "
                        f"{patterns.SECONDS:g} seconds on the layers' names. Use a list of names instead."
                    ) from None
                left -= time.process_time() - started
