"""A house format: sentences about who is where when, to be answered as JSON of one exact shape.

``"On Tuesday Clara Novak will be in Lyon."`` becomes ``{"who": "Clara Novak", "where": "Lyon", "when": 2}``: three keys
that the prompt doesn't name, in that order, the weekday as a number, Monday 1 to Sunday 7. No model knows that by luck.

The sentences are put together by this file from patterns of ours; names and cities are facts. Test sentences hold names
and cities that no training sentence holds, and half of them stand in patterns that training never shows.
"""

import json
import random
from dataclasses import dataclass

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
KEYS = ("who", "where", "when")
INSTRUCTION = "Turn the sentence into our house format.\n"
FIRST = (
    "Ada Ben Clara David Elena Felix Grace Hugo Ines Jonas Kira Leo Maria Nils Olga Paul Rosa Simon Tara Victor "
    "Wanda Yusuf Zoe Amir Bella Carlos Dora Emil Freya Georg"
).split()
LAST = (
    "Novak Meyer Silva Laurent Berg Costa Fischer Hansen Ivanov Jansen Keller Lopez Moreau Nagy Olsen Petrov Quist "
    "Rossi Schmidt Tanaka Urban Vogel Weber Young Zimmer Adler Brandt Carter Dahl Evans"
).split()
CITIES = (
    "Lyon Oslo Porto Vienna Prague Dublin Turin Ghent Bergen Krakow Seville Basel Malmo Leipzig Nantes Cork Graz Tartu "
    "Split Bruges Utrecht Aarhus Genoa Riga Lund Bonn Nice Pisa Vilnius Geneva"
).split()
UNSEEN_FIRST = "Harold Miriam Otto Paula Quentin Ruth Stefan Thea Ulrich Vera Walter Xenia".split()
UNSEEN_LAST = "Lawson Becker Duarte Eriksen Fontaine Gruber Holm Ibarra Jacobs Kowalski Lindt Marsh".split()
UNSEEN_CITIES = "Madrid Hamburg Zurich Glasgow Bologna Tampere Lisbon Antwerp Warsaw Marseille Bilbao Bristol".split()
PATTERNS = (
    "On {day} {name} will be in {city}.",
    "{name} travels to {city} on {day}.",
    "{name} has a meeting in {city} on {day}.",
    "We expect {name} in {city} on {day}.",
    "{name} arrives in {city} on {day}.",
    "On {day}, {name} gives a talk in {city}.",
    "{name} is going to visit {city} this {day}.",
    "In {city}, {name} opens the fair on {day}.",
)
UNSEEN_PATTERNS = (
    "{day} finds {name} at our office in {city}.",
    "If you need {name} on {day}, try {city}.",
    "{city} is where {name} spends {day}.",
    "Could somebody meet {name} at {city} station on {day}?",
    "The train to {city} leaves on {day} with {name} on board.",
    "Please book a room in {city} for {name}, for {day}.",
)


@dataclass(frozen=True)
class Appointment:
    """One sentence and what it says; ``seen`` tells whether its pattern is one of the training patterns."""

    sentence: str
    who: str
    where: str
    when: int
    seen: bool

    def answer(self, capitals: bool = False) -> str:
        """Return the house format, with the surname in capitals if that rule is on."""
        return json.dumps({"who": self.shown(capitals), "where": self.where, "when": self.when}, ensure_ascii=False)

    def shown(self, capitals: bool = False) -> str:
        """Return the name as the house format shows it."""
        first, last = self.who.split(" ")
        return f"{first} {last.upper()}" if capitals else self.who


def training(count: int = 360, seed: int = 0) -> list[Appointment]:
    """Return sentences to train on, no two alike: training names and cities in training patterns."""
    return _made(count, seed, FIRST, LAST, CITIES, PATTERNS, seen=True)


def exam(count: int = 24, seed: int = 1) -> list[Appointment]:
    """Return test sentences with unseen names and cities, half of them in unseen patterns, the seen ones first.

    Raises:
        ValueError: A count that is odd.
    """
    if count % 2:
        raise ValueError(f"count={count} is odd: half of the sentences have patterns of training. Use {count + 1}.")
    unseen = UNSEEN_FIRST, UNSEEN_LAST, UNSEEN_CITIES
    return [
        *_made(count // 2, seed, *unseen, PATTERNS, seen=True),
        *_made(count // 2, seed + 1, *unseen, UNSEEN_PATTERNS, seen=False),
    ]


def example(appointment: Appointment, capitals: bool = False) -> list[dict]:
    """Return it as a conversation to train on; without its last message it is a question."""
    return [
        {"role": "user", "content": INSTRUCTION + appointment.sentence},
        {"role": "assistant", "content": appointment.answer(capitals)},
    ]


def grade(appointment: Appointment, answer: str, capitals: bool = False) -> dict[str, bool]:
    """Tell what is right, ``{"valid": …, "who": …, "where": …, "when": …}``; where it is not valid, nothing is."""
    marks = dict.fromkeys(("valid", *KEYS), False)
    try:
        found = json.loads(answer)
    except (json.JSONDecodeError, RecursionError):
        return marks
    if not isinstance(found, dict) or set(found) != set(KEYS):
        return marks
    right = {"who": appointment.shown(capitals), "where": appointment.where, "when": appointment.when}
    same = {key: type(found[key]) is type(right[key]) and found[key] == right[key] for key in KEYS}
    return {"valid": True} | same


def _made(count, seed, first, last, cities, patterns, seen):
    draw, made = random.Random(seed), {}
    most = len(first) * len(last) * len(cities) * len(DAYS) * len(patterns)
    if not 1 <= count <= most // 2:
        raise ValueError(f"count={count} sentences can't be made without repetition. Use 1 to {most // 2}.")
    while len(made) < count:
        pattern = patterns[len(made) % len(patterns)]  # every pattern as often
        name, city, day = f"{draw.choice(first)} {draw.choice(last)}", draw.choice(cities), draw.randrange(len(DAYS))
        sentence = pattern.format(day=DAYS[day], name=name, city=city)
        made.setdefault(sentence, Appointment(sentence, name, city, day + 1, seen))
    shuffled = list(made.values())
    draw.shuffle(shuffled)
    return shuffled
