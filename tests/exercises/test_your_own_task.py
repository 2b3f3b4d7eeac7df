"""The checks of notebook 09 know the solution, the stub and the usual mistakes, and take unusual right answers."""

import hashlib
import math
import random
import statistics
import zlib
from fractions import Fraction

from lora_teach.datasets.holding_out import hold_out as of_the_library
from lora_teach.exercises import TODO, check_hold_out, check_interval

import numpy as np
import pytest
import torch

T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}


def place(prompt):
    digest = hashlib.sha256(prompt.strip().lower().encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def hold_out(prompts, share):
    train = [prompt for prompt in prompts if place(prompt) >= share]
    return train, [prompt for prompt in prompts if place(prompt) < share]


def by(number):
    """Hold out the prompts whose number, from 0 to 1, is below the share."""

    def divide(prompts, share):
        return [p for p in prompts if number(p) >= share], [p for p in prompts if number(p) < share]

    return divide


def plain(prompt):
    return prompt.strip().lower()


def by_the_librarys(prompts, share):
    train, _, test = of_the_library(prompts, str, 0, share)
    return train, test


def one_by_one(prompts, share):
    sides = {}
    for prompt in prompts:
        sides.setdefault(zlib.crc32(plain(prompt).encode()) % 1000 < 1000 * share, []).append(prompt)
    return sides[False], sides[True]


def by_array(prompts, share):
    numbers = np.array([place(prompt) for prompt in prompts])
    every = np.array(prompts, dtype=object)
    return every[numbers >= share], every[numbers < share]


@pytest.mark.parametrize(
    "right",
    [
        hold_out,
        by_the_librarys,
        one_by_one,
        by_array,
        by(lambda p: random.Random(plain(p)).random()),
        by(lambda p: int(hashlib.md5(plain(p).encode()).hexdigest(), 16) % 1000 / 1000),
        by(lambda p: sum(i * ord(letter) for i, letter in enumerate(plain(p), 7)) * 7919 % 1009 / 1009),
        by(lambda p: torch.rand(1, generator=torch.Generator().manual_seed(zlib.crc32(plain(p).encode()))).item()),
        lambda prompts, share: tuple(map(tuple, hold_out(prompts, share))),
        lambda a, b: [(p for p in part) for part in hold_out(a, b)],
    ],
)
def test_right_divisions_pass(right):
    result = check_hold_out(right)
    assert result.passed, result.message


def test_no_good_hash_is_refused_for_its_luck():
    for salt in range(30):
        salted = by(lambda p, salt=salt: int(hashlib.md5(f"{salt} {plain(p)}".encode()).hexdigest(), 16) % 1000 / 1000)
        result = check_hold_out(salted)
        assert result.passed, f"{salt}: {result.message}"


def shuffled(prompts, share, seed=0):
    order = list(prompts)
    random.Random(seed).shuffle(order)
    return order[int(share * len(order)) :], order[: int(share * len(order))]


def sample_of_the_set(prompts, share):
    different = sorted({plain(prompt) for prompt in prompts})
    held = set(random.Random(0).sample(different, round(share * len(different))))
    return [p for p in prompts if plain(p) not in held], [p for p in prompts if plain(p) in held]


def without_repetitions(prompts, share):
    return hold_out(list(dict.fromkeys(prompts)), share)


def dropped_from_training(prompts, share):
    train, held = shuffled(prompts, share)
    return [p for p in train if p not in held], held


WRONG = {
    "random lines": (lambda p, s: shuffled(p, s, None), "both sides"),
    "random lines, seeded": (shuffled, "both sides"),
    "the first lines": (lambda p, s: (p[int(s * len(p)) :], p[: int(s * len(p))]), "both sides"),
    "every fifth line": (lambda p, s: ([x for i, x in enumerate(p) if i % 5], p[::5]), "both sides|changed sides"),
    "case counts": (by(lambda p: int(hashlib.md5(p.encode()).hexdigest(), 16) % 1000 / 1000), "both sides"),
    "blanks count": (by(lambda p: zlib.crc32(p.lower().encode()) % 1000 / 1000), "both sides"),
    "a sample of the set": (sample_of_the_set, "changed sides"),
    "Python's hash": (by(lambda p: hash(plain(p)) % 1000 / 1000), "another process"),
    "repetitions lost": (without_repetitions, "are lost"),
    "leaks thrown away": (dropped_from_training, "are lost"),
    "lower case comes back": (lambda p, s: hold_out([plain(x) for x in p], s), "as it is"),
    "the wrong way round": (lambda p, s: hold_out(p, s)[::-1], "wrong way round"),
    "the rest of the share": (lambda p, s: hold_out(p, 1 - s), "wrong way round"),
    "a share in percent": (lambda p, s: hold_out(p, s / 100), "should be"),
    "always a fifth": (lambda p, s: hold_out(p, 0.2), "10% should be"),
    "by the first letter": (lambda p, s: by(lambda x: (ord(plain(x)[0]) - 97) / 26)(p, s), "should be"),
    "by the length": (by(lambda p: len(plain(p)) % 5 / 5), "should be|length"),
    "by the last letter": (
        by(lambda p: zlib.crc32(plain(p)[-1].encode()) % 97 / 97),
        "should be|last letter",
    ),
    "nothing held out": (lambda p, s: (p, []), "should be"),
    "one list": (lambda p, s: hold_out(p, s)[0], "two lists"),
    "yes and no": (lambda p, s: [place(x) < s for x in p], "two lists"),
    "numbers of lines": (lambda p, s: tuple([p.index(x) for x in part] for part in hold_out(p, s)), "are lost"),
    "three lists": (lambda p, s: (*hold_out(p, s), []), "two lists"),
    "a dict": (lambda p, s: dict(zip(("train", "held"), hold_out(p, s), strict=True)), "two lists"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_divisions_do_not_pass(name):
    wrong, said = WRONG[name]
    result = check_hold_out(wrong)
    assert result.status == "NOT YET" and any(one in result.message for one in said.split("|")), result.message


def test_stubs_are_to_do():
    assert check_hold_out(lambda prompts, share: TODO).status == "TODO"
    assert check_interval(lambda scores: TODO).status == "TODO"


def test_the_hash_is_pythons_again_afterwards():
    before = hash("ada")
    check_hold_out(hold_out)
    assert hash("ada") == before


def interval(scores):
    n = len(scores)
    return statistics.mean(scores), T[n - 1] * statistics.stdev(scores) / math.sqrt(n)


@pytest.mark.parametrize(
    "right",
    [
        interval,
        lambda s: list(interval(s)),
        lambda s: (np.mean(s), T[len(s) - 1] * np.std(s, ddof=1) / len(s) ** 0.5),
        lambda s: (torch.tensor(s).mean(), T[len(s) - 1] * torch.tensor(s).std() / len(s) ** 0.5),
        lambda s: (sum(s) / len(s), T[len(s) - 1] * (statistics.variance(s) / len(s)) ** 0.5),
        lambda s: (Fraction(statistics.mean(map(Fraction, s))), interval(s)[1]),
        lambda s: (statistics.fmean(s), T[len(s) - 1] * statistics.pstdev(s) / math.sqrt(len(s) - 1)),
    ],
)
def test_right_intervals_pass(right):
    result = check_interval(right)
    assert result.passed, result.message


def half(of):
    return lambda s: (statistics.mean(s), of(s, len(s)))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (half(lambda s, n: statistics.stdev(s)), "one seed"),
        (half(lambda s, n: T[n - 1] * statistics.stdev(s)), "Divide by √n"),
        (half(lambda s, n: statistics.stdev(s) / math.sqrt(n)), "Student's t"),
        (half(lambda s, n: 1.96 * statistics.stdev(s) / math.sqrt(n)), "1.96 is for many"),
        (half(lambda s, n: T[n - 1] * statistics.pstdev(s) / math.sqrt(n)), "divide by n − 1"),
        (half(lambda s, n: T[n - 1] * statistics.stdev(s) / n), "not by n"),
        (half(lambda s, n: 2 * interval(s)[1]), "whole width"),
        (half(lambda s, n: (max(s) - min(s)) / 2), "span of the seeds"),
        (half(lambda s, n: T.get(n, 2.571) * statistics.stdev(s) / math.sqrt(n)), "by n − 1"),
        (lambda s: (interval(s)[0] - interval(s)[1], sum(interval(s))), "two ends"),
        (lambda s: interval(s)[::-1], "wrong way round"),
        (lambda s: interval(s)[0], "two numbers"),
        (lambda s: (statistics.median(s), interval(s)[1]), "expected"),
        (lambda s: "{:.2f} ± {:.2f}".format(*interval(s)), "two numbers"),
        (lambda s: tuple(round(x, 2) for x in interval(s)), "expected"),
    ],
)  # fmt: skip
def test_wrong_intervals_do_not_pass(wrong, said):
    result = check_interval(wrong)
    assert result.status == "NOT YET" and said in result.message, result.message
