"""Checks of notebook 13: advantages within groups, and a reward of the learner's own that can't be gamed.

A reward is attacked twice: with a list of usual cheats, and by a climber who changes names letter by letter, keeps what
is rewarded as well, and of two equal ones the one with fewer letters. It does what training would do, in a second.
"""

import math
import random
from numbers import Real

from lora_teach.bases import gumbel_noise, load_name_gpt, sample_names
from lora_teach.datasets.names import ALPHABET
from lora_teach.exercises.check import Draw, attempt, cases, check, compare, expect, run
from lora_teach.exercises.todo import finished

import torch

SHORTEST, LONGEST = 3, 12  # letters of a name
EXAMPLES = 5  # at least
CHEATS = [
    *("a", "ii", "xy", "zzzz", "iiiiiiiiiiiiiiii", "abababab", "aabbaabbaabb", "eieieieieieieiei", "mmmm", "aaa"),
    *("brrrrrt", "abcccba", "xxxyzz", "abcdefghijklmnop", "hannahannahannah", "annaannaanna", "ellaaaaa", "ooella"),
    *("aella", "sss", "ssss", "tststs", "bcdfghjklmnpqrst", "n", "lalalalalalala"),
]
CLIMBERS, CHANGES = 5, 150  # from so many examples, and as many of the base's names
SMALL = 1e-4


@check
def check_advantages(advantages):
    """Check ``advantages(rewards)``, (groups, size) both: (reward − mean) / (standard deviation + 1e-4) by group."""
    draw = Draw()
    given = [
        torch.tensor([[1.0, 0, 0, 1], [5, 3, 1, 1]]), draw.matrix(3, 8), torch.tensor([[0.0, 0, 1], [2, 2, 2]]),
        torch.tensor([[1.0, 0], [0, 0], [0.5, 0.25]]), draw.matrix(2, 5) + 7,
    ]  # fmt: skip
    for rewards in cases(given):
        compare(attempt(advantages, rewards=rewards), right_advantages(rewards), _wrong_advantages(rewards))
    return "each reward is compared with its own group, and a group of equal ones says nothing."


def right_advantages(rewards):
    """Return the advantages as GRPO has them."""
    return (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + SMALL)


def _wrong_advantages(rewards):
    """Return the usual wrong answers for these rewards."""
    means, spreads = rewards.mean(1, keepdim=True), rewards.std(1, keepdim=True)
    above, others = rewards - means, (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)
    return [
        (above, "Not divided by the group's standard deviation yet."),
        (above / spreads, "A group of equal rewards has a standard deviation of 0: add 1e-4 to it."),
        (above / rewards.std(1, correction=0, keepdim=True), "rewards.std divides by one less; and add 1e-4."),
        (above / (rewards.std(1, correction=0, keepdim=True) + SMALL), "rewards.std divides by one less: use it."),
        (rewards / (spreads + SMALL), "The mean was not taken off: every text with a reward would be pushed up."),
        ((rewards - rewards.mean()) / (rewards.std() + SMALL), "The mean over all was taken: each group has its own."),
        ((rewards - rewards.mean()) / (spreads + SMALL), "The mean over all was taken: each group has its own."),
        (above / (rewards.std() + SMALL), "The standard deviation is that of all: each group has its own."),
        ((rewards - others) / (spreads + SMALL), "The baseline is the mean of the others; here it is that of all."),
        (
            (rewards - rewards.mean(0, keepdim=True)) / (rewards.std(0, keepdim=True) + SMALL),
            "That is a column's mean: a group is a row, dimension 1.",
        ),
        (-right_advantages(rewards), "The sign is turned: what scored above the mean is above 0."),
        (above / (spreads.square() + SMALL), "That is the variance: the standard deviation is its root."),
    ]  # fmt: skip


@check
def check_reward(reward, good=()):
    """Check that no cheat is worth as much to ``reward(name)`` as the least of ``good``, a list of examples.

    What nobody would call a name: fewer than 3 letters or more than 12, fewer than 3 different ones, or one three times
    in a row.
    """
    _reward(reward, "hannah")  # before the examples are looked at: what is not begun is TODO
    good = _examples(good)
    worth = {name: _reward(reward, name) for name in good}
    least = min(worth, key=worth.get)
    written = sample_names(load_name_gpt(), gumbel_noise(40, seed=0))
    values = [_reward(reward, name) for name in written]
    mean = sum(values) / len(values)
    expect(
        max(values) - min(values) > 1e-9,
        f"all of {len(written)} names that the base writes, such as {written[0]!r} and {written[1]!r}, get {mean:g}. "
        "Above and below the mean there is nothing, so nothing can be learnt: give a part for a part of the way.",
    )
    expect(
        worth[least] > mean,
        f"your own example {least!r} gets {worth[least]:g}, no more than the base's names on average, {mean:.3g}: the "
        "model would be pushed away from it.",
    )
    starts = [*good[:CLIMBERS], *written[:CLIMBERS]]
    found = run(_attacked, reward, starts, worth[least])
    if found is not None:
        cheat, how = found
        expect(
            False,
            f"{cheat!r} gets {_reward(reward, cheat):g}, and your example {least!r} gets {worth[least]:g}. That is no "
            f"name: {no_name(cheat)}. It is {how}, and the model would find it too.",
        )
    return f"{len(CHEATS)} cheats and {len(starts)} climbers got less than {least!r}. Train with it, and watch."


def no_name(name):
    """Say what makes this no name that anybody has, or return an empty text.

    >>> no_name("hannah"), no_name("ii")
    ('', 'it has 2 letters')
    """
    if not SHORTEST <= len(name) <= LONGEST:
        return f"it has {len(name)} letter{'s' if len(name) != 1 else ''}"
    if len(set(name)) < SHORTEST:
        return f"it has {len(set(name))} different letter{'s' if len(set(name)) != 1 else ''}"
    row = next((letter for letter in name if 3 * letter in name), "")
    return f"it has {row!r} three times in a row" if row else ""


def _examples(good):
    """Return the learner's examples, each one checked."""
    given = finished(good)
    expect(
        isinstance(given, (list, tuple)) and all(isinstance(name, str) for name in given),
        "good is a list of names that you would be glad of, such as ['hannah', 'radar'].",
    )
    expect(len(set(good)) >= EXAMPLES, f"good has {len(set(good))} different names: give {EXAMPLES} or more.")
    for name in good:
        strange = [letter for letter in name if letter not in ALPHABET[1:]]
        expect(name and not strange, f"your example {name!r} can't be written: use {ALPHABET[1:27]} and the like.")
        expect(not no_name(name), f"your example {name!r} is no name itself: {no_name(name)}.")
    return list(good)


def _reward(reward, name):
    """Return the reward of one name, asked twice."""
    values = [attempt(reward, name=name) for _ in range(2)]
    numbers = [value.item() if getattr(value, "shape", None) == () else value for value in values]
    expect(isinstance(numbers[0], Real), f"It returned {values[0]!r}, which is no number.")
    numbers = list(map(float, numbers))
    expect(math.isfinite(numbers[0]), f"It returned {numbers[0]}, which is not finite.")
    expect(numbers[0] == numbers[1], f"The same name got {numbers[0]:g}, then {numbers[1]:g}: a reward does not toss.")
    return numbers[0]


def _attacked(reward, starts, enough):
    """Return ``(cheat, how it was found)`` of one that is worth ``enough``, or None."""
    for cheat in [*CHEATS, *(cheat for start in starts for cheat in _one_too_many(start))]:
        if no_name(cheat) and not reward(cheat) < enough:  # nan is not less either
            return cheat, "one of the usual cheats"
    for number, start in enumerate(starts):
        toss, name, value = random.Random(number), start, reward(start)
        for _ in range(CHANGES):
            other = _changed(name, toss)
            worth = reward(other)
            if no_name(other) and not worth < enough:
                return other, f"what changing letter after letter makes of {start!r}"
            if (worth, -len(set(other))) >= (value, -len(set(name))):
                name, value = other, worth
    return None


def _one_too_many(name):
    """Return what keeps a name's beginning, its end or a mirror, and is one letter too long."""
    half, others = (name * 5)[: LONGEST // 2 + 1], "bcdfghjklmnpqrst"
    return [(name + others)[: LONGEST + 1], (others + name)[-LONGEST - 1 :], half + half[-2::-1]]


def _changed(name, toss):
    """Change a letter, add one, often one that is there already, drop one, or swap both halves' ends."""
    place = toss.randrange(len(name))
    letter = toss.choice(name) if toss.random() < 0.6 else toss.choice(ALPHABET[1:27])
    kind = toss.randrange(4)
    if kind == 0 and len(name) > 1:
        return name[:place] + name[place + 1 :]
    if kind == 1 and len(name) < 16:
        return name[:place] + letter + name[place:]
    if kind == 2 and len(name) > 1:  # both ends of a mirror at once
        letters = list(name)
        letters[place] = letters[-1 - place] = letter
        return "".join(letters)
    return name[:place] + letter + name[place + 1 :]
