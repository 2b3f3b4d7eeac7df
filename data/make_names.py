"""Make data/names/*.txt from the locales of the ``faker`` package.

    python data/make_names.py [--out data/names]

This is the only place that imports faker (``pip install faker==40.54.0``); the course itself reads the text files.
A list of names is a list of facts; faker, which collected them, is under the MIT licence.
"""

import argparse
import importlib
import unicodedata
from collections import Counter
from pathlib import Path

from lora_teach.datasets.names import MAX_LETTERS

import faker

# Language -> the faker locales that are joined for it. Chosen because each has several hundred names of one word in
# the Latin alphabet, and because they sound unlike English and unlike each other.
LOCALES = {
    "English": ["en", "en_US", "en_GB", "en_IE"],
    "Finnish": ["fi_FI"],
    "Zulu": ["zu_ZA"],
    "Icelandic": ["is_IS"],
    "Turkish": ["tr_TR"],
    "Polish": ["pl_PL"],
    "Italian": ["it_IT"],
    "Croatian": ["hr_HR"],
    "Indonesian": ["id_ID"],
}
RARE = 5  # a letter in fewer names than this can't be learnt, and would decide the loss by which split it falls in


def lower(name, language):
    """Lower-case ``name``; Turkish has two letters i, and its capital I is the dotless one."""
    if language == "Turkish":
        name = name.replace("İ", "i").replace("I", "ı")
    return unicodedata.normalize("NFC", name.strip(" .").lower())


def is_name(text):
    """True for one word of Latin letters: no hyphen, apostrophe or space, which would be too rare to learn."""
    latin = all(letter.isalpha() and "LATIN" in unicodedata.name(letter) for letter in text)
    return latin and 2 <= len(text) <= MAX_LETTERS


def read_locale(locale):
    """Return every first and last name in faker's tables for ``locale``, as they are spelled there.

    Tables of stems that only become names with a suffix (Icelandic patronymics) are left out.
    """
    provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
    tables = {key: table for key, table in vars(provider).items() if isinstance(table, (tuple, list, dict))}
    wanted = [key for key in tables if ("first_name" in key or "last_name" in key) and "suffix" not in key]
    return {name for key in wanted for name in tables[key]}  # vars, not dir: inherited tables are another locale's


def make(language):
    """Return the sorted, lower-case, distinct names of one language."""
    spelled = set().union(*(read_locale(locale) for locale in LOCALES[language]))
    names = {name for name in (lower(name, language) for name in spelled) if is_name(name)}
    uses = Counter(letter for name in names for letter in set(name))
    return sorted(name for name in names if all(uses[letter] >= RARE for letter in name))


def main():
    """Write one file a language and print how many names it has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "names")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for language, locales in LOCALES.items():
        names = make(language)
        header = f"# {language} names, from faker {faker.VERSION} (MIT licence), locales: {' '.join(locales)}\n"
        header += "# made by: python data/make_names.py\n"
        (out / f"{language.lower()}.txt").write_text(header + "\n".join(names) + "\n", encoding="utf-8", newline="\n")
        print(f"{language:12} {len(names):6,} names")


if __name__ == "__main__":
    main()
