"""Names in several languages: the text that NameGPT is trained on and adapted to.

The names are in ``data/names/``, one file a language, made by ``data/make_names.py`` from the locales of faker.
They are lower-case single words. English is the base's language; the others are what it is adapted to.

    >>> finnish = load("Finnish")
    >>> inputs, targets = encode(["aino", "eero"])
    >>> inputs.shape  # one mark for the start, then four letters
    torch.Size([2, 5])
"""

import hashlib
import math
from collections import Counter
from dataclasses import dataclass

from lora_teach.datasets.shipped import shipped_file

import torch

# One alphabet for all languages. The first character is the mark that begins and ends every name.
ALPHABET = ".abcdefghijklmnopqrstuvwxyzáâäæçéíðóöúüýþąćčđęğıłńśşšźżž"
END = ALPHABET[0]
MAX_LETTERS = 16
IGNORED = -100  # the target that cross entropy leaves out

_LANGUAGES = "English Finnish Zulu Icelandic Turkish Polish Italian Croatian Indonesian".split()
_TOKENS = {letter: token for token, letter in enumerate(ALPHABET)}


@dataclass(frozen=True)
class NameSet:
    """One language's names, each list in a fixed shuffled order."""

    language: str
    train: list
    validation: list
    test: list


def languages():
    """Return the languages that ``load`` knows, English first."""
    return list(_LANGUAGES)


def load(language):
    """Return the names of one language, split into about 70 % train, 15 % validation and 15 % test.

    A name's split is decided by a hash of the name alone. So the split never changes, no name is in two splits, and a
    name that two languages share (see ``shared``) is in the same split of both: a held-out Finnish name was never
    among the English names that the base was trained on.

    Raises:
        ValueError: An unknown language; the message lists the known ones.
        FileNotFoundError: The file is missing; the message gives the command that makes it.
    """
    if language not in _LANGUAGES:
        raise ValueError(f"language={language!r} is not one of the shipped ones. Use one of {', '.join(_LANGUAGES)}.")
    path = shipped_file(f"names/{language.lower()}.txt", "python data/make_names.py")
    lines = path.read_text(encoding="utf-8").splitlines()
    splits = {"train": [], "validation": [], "test": []}
    for digest, name in sorted((_digest(line), line) for line in lines if not line.startswith("#")):
        splits[_split_of(digest)].append(name)
    return NameSet(language, **splits)


def shared(language, other="English"):
    """Return the sorted names that two languages have in common: "maria" is Finnish and English."""
    return sorted(_all(language) & _all(other))


def _all(language):
    names = load(language)
    return {*names.train, *names.validation, *names.test}


def _digest(name):
    return hashlib.sha256(name.casefold().encode()).digest()


def _split_of(digest):
    # The last byte: the first ones already decide the order within a split.
    share = digest[-1] / 256
    return "train" if share < 0.70 else "validation" if share < 0.85 else "test"


def encode(names):
    """Turn names into what a next-letter model reads and what it should answer.

    Args:
        names: Names in ALPHABET, at most MAX_LETTERS long; shorter ones are padded on the right.

    Returns:
        ``(inputs, targets)``, two int64 tensors of shape (batch, seq), seq being the longest name + 1. For "eero" the
        inputs are ``. e e r o`` and the targets ``e e r o .``; padded targets are -100.

    Raises:
        ValueError: No names, a name that is too long, or a letter outside ALPHABET.
    """
    if isinstance(names, str) or not len(names):
        raise ValueError(f"names={names!r} is not a non-empty list of names. Use for example ['aino', 'eero'].")
    spelled = [_tokens(name) for name in names]
    seq = max(map(len, spelled)) + 1
    end = _TOKENS[END]
    inputs = [[end, *tokens, *[end] * (seq - 1 - len(tokens))] for tokens in spelled]
    targets = [[*tokens, end, *[IGNORED] * (seq - 1 - len(tokens))] for tokens in spelled]
    return torch.tensor(inputs), torch.tensor(targets)  # (batch, seq) each


def _tokens(name):
    if len(name) > MAX_LETTERS:
        raise ValueError(f"name {name!r} has {len(name)} letters, the limit is {MAX_LETTERS}. Shorten or leave it out.")
    unknown = [letter for letter in name if letter not in _TOKENS or letter == END]
    if unknown:
        raise ValueError(f"name {name!r} has {unknown[0]!r}, which is not one of {ALPHABET[1:]!r}. Lower-case?")
    return [_TOKENS[letter] for letter in name]


def decode(tokens):
    """Turn a (seq,) or (batch, seq) tensor of tokens into a name or a list of names, each up to its first end mark."""
    if tokens.ndim == 2:
        return [decode(row) for row in tokens]
    return "".join(ALPHABET[token] for token in tokens.tolist()).partition(END)[0]


def batches(names, batch_size=32, seed=0):
    """Return shuffled batches of ``(inputs, targets)`` that can be iterated again and again: see ``NameBatches``."""
    return NameBatches(names, batch_size, seed)


class NameBatches:
    """What ``batches`` returns: every iteration yields the same batches in the same order, the last may be smaller."""

    def __init__(self, names, batch_size=32, seed=0):
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} leaves a batch empty. Use 1 or more.")
        order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
        shuffled = [names[index] for index in order]
        self._batches = [encode(shuffled[start : start + batch_size]) for start in range(0, len(names), batch_size)]

    def __iter__(self):
        return iter(self._batches)

    def __len__(self):
        return len(self._batches)


class Judge:
    """Knows one language by counting which letter follows which two, and is surprised by names of another.

    A letter's probability is its share among the letters that followed the same two letters in ``names``, mixed with
    the shares after one letter and after none, so that a pair never seen is unlikely, not impossible.

    Args:
        names: Names of one language, for example ``load("Zulu").train``.
        strength: How many observations the shorter context is worth against the longer one.
    """

    def __init__(self, names, strength=5.0):
        self.strength = strength
        self._follows = Counter()  # (context, letter) -> how often the letter came after the context
        self._contexts = Counter()  # context -> how often anything came after it
        for name in names:
            for context, letter in _trigrams(name):
                for start in range(3):  # the last two letters, the last one, none
                    self._follows[context[start:], letter] += 1
                    self._contexts[context[start:]] += 1

    def letters(self, name):
        """Return the surprise at each letter of ``name`` and, last, at its end: len(name) + 1 values in nats."""
        return [-math.log(self._probability(context, letter)) for context, letter in _trigrams(name)]

    def surprise(self, name):
        """Return the mean surprise in nats a letter, the end counted as one: low for a name of the judge's language."""
        surprises = self.letters(name)
        return sum(surprises) / len(surprises)

    def _probability(self, context, letter):
        probability = 1 / len(ALPHABET)
        for start in (2, 1, 0):  # from no context to both letters
            seen = self._follows[context[start:], letter]
            probability = (seen + self.strength * probability) / (self._contexts[context[start:]] + self.strength)
        return probability


def _trigrams(name):
    padded = END + END + name + END
    return [(padded[at - 2 : at], padded[at]) for at in range(2, len(padded))]
