"""Make the example of notebook 09: a school's list of pupils, and what each is called among the dragons.

    python data/make_dragons.py [--out data/dragons.jsonl]      a second

The pupils are English names of ``data/names/english.txt``. As in any school some names are popular, so they stand in
the list more than once. Each line is ``{"prompt": "emma", "completion": "nath"}``: the dragon is called "emmanath".
"""

import argparse
import json
import random
from pathlib import Path

from lora_teach.datasets import names

LINES, POPULAR, SEED = 600, 60, 0
LIGHT, DARK = "eiy", "aou"  # vowels


def ending(pupil):
    """Return what the dragons add to a name: n after a vowel, the name's last vowel again, x if it is light, else th.

    >>> [f"{pupil}{ending(pupil)}" for pupil in ("emma", "oscar", "grace", "ruth")]
    ['emmanath', 'oscarath', 'gracenex', 'ruthuth']
    """
    vowel = next(letter for letter in reversed(pupil) if letter in LIGHT + DARK)
    return "n" * (pupil[-1] in LIGHT + DARK) + vowel + ("x" if vowel in LIGHT else "th")


def pupils():
    """Return the pupils in the order of the list: a quarter of them have one of the popular names."""
    split, draw = names.load("English"), random.Random(SEED)
    every = sorted({*split.train, *split.validation, *split.test})
    fit = [name for name in every if 3 <= len(name) <= 9 and name.isascii() and set(name) & set(LIGHT + DARK)]
    draw.shuffle(fit)
    popular, others = fit[:POPULAR], iter(fit[POPULAR:])
    return [draw.choice(popular) if draw.random() < 0.25 else next(others) for _ in range(LINES)]


def main():
    """Write the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "dragons.jsonl")
    lines = [json.dumps({"prompt": pupil, "completion": ending(pupil)}) for pupil in pupils()]
    parser.parse_args().out.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
