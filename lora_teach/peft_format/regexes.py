"""Regular expressions and lists of names from a file: what would take for ever is refused before it is used."""

import time

from lora_teach.peft_format.config import expressions
from lora_teach.utils import patterns

MOST_COMPARISONS = 20_000_000  # of a name in a list with a layer's; a few seconds


def refuse_costly(config, names, where):
    """Raise ValueError if matching what a LoRAConfig names against ``names`` would take long."""
    lists = [one for one in (config.target_modules, config.exclude_modules) if not isinstance(one, str)]
    named = sum(len(one or ()) for one in [*lists, config.modules_to_save])
    if named * len(names) > MOST_COMPARISONS:
        raise ValueError(
            f"{where} names {named:,} modules, too many for {len(names):,} layers. Use last parts of names."
        )
    refuse_slow(expressions(config), names, where)


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
