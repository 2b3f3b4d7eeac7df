"""A way of speaking: short exchanges with an old lighthouse keeper, written for this course one by one.

The keeper answers in three sentences at most, calls the asker "lad" or "friend", and closes with a remark on the
weather, the sea or the sky. He means to be right as well, but `style_share` looks at how he says it only.

``data/speech.jsonl`` holds them, one ``{"subject", "prompt", "completion"}`` a line. Six subjects are held out whole.
"""

import re

from lora_teach.datasets.chats import read_jsonl
from lora_teach.datasets.jsonl import read_objects
from lora_teach.datasets.shipped import shipped_file

HELD_OUT = ("bicycles", "pets", "music", "pictures", "school", "cars")  # subjects that training never asks about
MOST_SENTENCES = 3
ADDRESS = re.compile(r"\b(lad|friend)\b")
# Weather, sea and sky. Words that a plain answer ends with too (light, air, water, salt, cold, dry) are left out.
REMARK = re.compile(
    r"\b(?:afterglow|bay|beach|beacon|breez(?:e|y)|buoys?|cliffs?|cloud(?:s|y|burst)?|crosswind|dawn|daybreak|daylight|"
    r"dew|drizzle|dusk|ebb|fog(?:s|gy|horn)?|frost|gales?|gulls?|gusts?|haz[ey]|horizon|lamps?|lighthouse|mist|moon|"
    r"moonless|northerl(?:y|ies)|rain(?:y|ing|water|s)?|sailors?|sea|ships?|shore|showers?|sky|sleet|snow(?:s|y)?|"
    r"spray|squalls?|stars?|storm(?:s|y)?|sun(?:set|rise|shine)?|surf|swell|tides?|waves?|weather|winds?|windy)\b"
)


def training() -> list[list[dict]]:
    """Return the conversations to train on, ``[{"role": "user", …}, {"role": "assistant", …}]`` each."""
    return [conversation for subject, conversation in _all() if subject not in HELD_OUT]


def held_out() -> list[list[dict]]:
    """Return the conversations on subjects that training never asks about."""
    return [conversation for subject, conversation in _all() if subject in HELD_OUT]


def questions() -> list[str]:
    """Return what `held_out` asks."""
    return [conversation[0]["content"] for conversation in held_out()]


def style_share(answer: str) -> float:
    """Return how much of the keeper is in an answer, 0 to 1: a coarse meter that counts words, not sense.

    One half for calling the asker lad or friend, once or twice; one half for a last sentence that names weather, sea or
    sky. An answer of more than three sentences, or one that was cut off, is not his and gets nothing. Whether an answer
    is right, or makes sense, the meter can't tell.
    """
    sentences = re.findall(r"[^.!?]+[.!?]+", answer.lower())
    if not 1 <= len(sentences) <= MOST_SENTENCES or not answer.rstrip().endswith((".", "!", "?")):
        return 0.0
    addressed = 1 <= len(ADDRESS.findall(answer.lower())) <= 2  # a model that has got stuck says "lad, lad, lad"
    return (addressed + bool(REMARK.search(sentences[-1]))) / 2


def _all():
    path = shipped_file("speech.jsonl", "git checkout data/speech.jsonl")
    subjects = [line["subject"] for _, line in read_objects(path)]
    return list(zip(subjects, read_jsonl(path), strict=True))
