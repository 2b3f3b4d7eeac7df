"""Whose names are these? Two judges of real names read what a model writes while its adapter's strength is turned."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lora_teach.datasets import names
from lora_teach.datasets.shipped import shipped_file

CHANCE = math.log(len(names.ALPHABET))  # nats: the surprise of who guesses a letter blindly
ENGLISH, OTHER, NEITHER = "e", "o", "-"  # whom a letter pleases
STRENGTHS = [tenth / 10 for tenth in range(31)]  # where the judges' lines are measured: ×0, ×0.1 … ×3
TEMPERATURE = 0.7  # of all names shown: the noise is made that much smaller, so that likely letters are preferred
COMMAND = "python data/make_morph.py"


class Jury:
    """An English judge and a judge of another ``language``, each of whom knows the training names of its own."""

    def __init__(self, language: str):
        english, other = names.load("English"), names.load(language)
        self.language = language
        self.english, self.other = names.Judge(english.train), names.Judge(other.train)
        self._real = {name for kept in (english, other) for name in (*kept.train, *kept.validation, *kept.test)}

    def tastes(self, name: str) -> str:
        """Return a sign a letter, as `tastes` does: ENGLISH, OTHER or NEITHER."""
        return tastes(name, {ENGLISH: self.english, OTHER: self.other})

    def surprise(self, written: Sequence[str]) -> tuple[float, float]:
        """Return the names' mean surprise in nats a letter, that of the English judge and that of the other."""
        return tuple(sum(map(judge.surprise, written)) / len(written) for judge in (self.english, self.other))

    def is_real(self, name: str) -> bool:
        """Tell whether somebody has this name: it is on the list of one of the two languages."""
        return name in self._real


def tastes(name: str, judges: Mapping) -> str:
    """Return a sign a letter: the key of the judge whom it surprises least, NEITHER if all do worse than a blind guess.

    ``judges`` are ``{sign: names.Judge}``; signs are single characters, and of equal judges the first is taken.
    """
    columns = zip(*(judge.letters(name)[:-1] for judge in judges.values()), strict=True)
    return "".join(NEITHER if min(column) > CHANCE else list(judges)[column.index(min(column))] for column in columns)


@dataclass(frozen=True)
class Measured:
    """What ``data/make_morph.py`` found for one language, each list with one entry for each of STRENGTHS.

    ``english`` and ``other`` are the judges' surprise in nats a letter, ``real`` the share of names that somebody has,
    all over ``names`` names; ``adapter`` is the SHA-256 of the adapter that wrote them.
    """

    english: list
    other: list
    real: list
    adapter: str
    names: int

    @property
    def best(self) -> float:
        """The strength at which the language's judge is least surprised."""
        return STRENGTHS[self.other.index(min(self.other))]


def measured(language: str) -> Measured:
    """Return the judges' lines for one of the shipped adapters."""
    results = json.loads(shipped_file("morph.json", COMMAND).read_text(encoding="utf-8"))
    return Measured(**results["languages"][language], names=results["names"])
