"""Exercises of notebook 13: honest rewards pass whatever they are made for, and one that can be gamed is shown how."""

import random
from fractions import Fraction

from lora_teach.exercises import TODO, check_advantages, check_reward
from lora_teach.exercises.learning_from_a_reward import CHEATS, no_name

import pytest
import torch


def advantages(rewards):
    above = rewards - rewards.mean(dim=1, keepdim=True)
    return above / (rewards.std(dim=1, keepdim=True) + 1e-4)


def a_row_at_a_time(rewards):
    rows = []
    for row in rewards.tolist():
        mean = sum(row) / len(row)
        spread = (sum((one - mean) ** 2 for one in row) / (len(row) - 1)) ** 0.5
        rows.append([(one - mean) / (spread + 1e-4) for one in row])
    return torch.tensor(rows)


def by_numpy(rewards):
    values = rewards.numpy()
    return (values - values.mean(1, keepdims=True)) / (values.std(1, ddof=1, keepdims=True) + 1e-4)


def by_squares(rewards):
    above = rewards - rewards.sum(1)[:, None] / rewards.shape[1]
    return above / ((above.square().sum(1) / (rewards.shape[1] - 1)).sqrt()[:, None] + 1e-4)


def by_both_at_once(rewards):
    spread, mean = torch.std_mean(rewards, dim=-1, keepdim=True)
    return (rewards - mean).div(spread.add(1e-4))


@pytest.mark.parametrize(
    "right",
    [
        *(advantages, a_row_at_a_time, by_numpy, by_squares, by_both_at_once),
        lambda rewards: advantages(rewards.double()).numpy(),
        lambda scores: advantages(scores.T.contiguous().T).tolist(),
    ],
)
def test_right_advantages_pass(right):
    assert check_advantages(right).passed


def test_stubs_are_told_apart_from_answers():
    assert check_advantages(lambda rewards: (rewards - TODO) / TODO).status == "TODO"
    assert check_advantages(lambda rewards: None).status == "NOT YET"
    assert check_reward(lambda name: TODO, PALINDROMES).status == "TODO"
    assert check_reward(palindrome, [TODO] * 5).status == "TODO"
    assert check_reward(palindrome, TODO).status == "TODO"
    assert check_reward(lambda name: None, PALINDROMES).status == "NOT YET"


def std(rewards):
    return rewards.std(1, keepdim=True)


def mean(rewards):
    return rewards.mean(1, keepdim=True)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (lambda r: r - mean(r), "Not divided"),
        (lambda r: (r - mean(r)) / std(r), "standard deviation of 0: add 1e-4"),
        (lambda r: (r - mean(r)) / (r.std(1, correction=0, keepdim=True) + 1e-4), "divides by one less"),
        (lambda r: r / (std(r) + 1e-4), "The mean was not taken off"),
        (lambda r: (r - r.mean()) / (r.std() + 1e-4), "each group has its own"),
        (lambda r: (r - mean(r)) / (r.std() + 1e-4), "The standard deviation is that of all"),
        (lambda r: (r - r.mean(0)) / (r.std(0) + 1e-4), "a group is a row"),
        (lambda r: (mean(r) - r) / (std(r) + 1e-4), "The sign is turned"),
        (lambda r: (r - mean(r)) / (r.var(1, keepdim=True) + 1e-4), "That is the variance"),
    ],
)
def test_each_mistake_with_the_advantages_is_named(mistake, said):
    result = check_advantages(mistake)
    assert result.status == "NOT YET" and said in result.message


PALINDROMES = ["hannah", "renner", "radar", "level", "civic"]
NO_VOWELS = ["lynn", "flynn", "gwynn", "bryn", "sky"]
RHYMES = ["isabella", "stella", "gabriella", "fiorella", "marcella"]


def is_a_name(name):
    in_a_row = any(3 * letter in name for letter in name)
    return 3 <= len(name) <= 12 and len(set(name)) >= 3 and not in_a_row


def palindrome(name):
    mirrored = sum(one == other for one, other in zip(name, reversed(name), strict=True))
    return is_a_name(name) * mirrored / len(name)


def no_vowels(name):
    return is_a_name(name) * (1 - sum(letter in "aeiou" for letter in name) / len(name))


def rhyme(name):
    for length in (4, 3, 2, 1):
        if name.endswith("ella"[-length:]) and is_a_name(name) and len(name) > length:
            return length / 4
    return 0.0


def penalised(name):
    """A fine in place of a gate."""
    mirrored = sum(one == other for one, other in zip(name, reversed(name), strict=True)) / len(name)
    return mirrored - 2 * (not is_a_name(name))


@pytest.mark.parametrize(
    ("reward", "good"),
    [
        (palindrome, PALINDROMES), (no_vowels, NO_VOWELS), (rhyme, RHYMES), (penalised, PALINDROMES),
        (lambda name: torch.tensor(palindrome(name)), tuple(PALINDROMES)),
        (lambda name: Fraction(palindrome(name)), PALINDROMES),
        (lambda name: 100 * palindrome(name) - 7, PALINDROMES),
        (lambda name: palindrome(name) > 0.99 or 0.5 * palindrome(name), PALINDROMES),
    ],
)  # fmt: skip
def test_honest_rewards_pass(reward, good):
    result = check_reward(reward, good)
    assert result.passed, result.message


def ungated(name):
    return sum(one == other for one, other in zip(name, reversed(name), strict=True)) / len(name)


def gate_without_rows(name):
    return (3 <= len(name) <= 12 and len(set(name)) >= 3) * ungated(name)


def gate_without_letters(name):
    return (3 <= len(name) <= 12 and not any(3 * letter in name for letter in name)) * ungated(name)


def gate_without_length(name):
    return (len(set(name)) >= 3 and not any(3 * letter in name for letter in name)) * (
        1 - sum(letter in "aeiou" for letter in name) / len(name)
    )


@pytest.mark.parametrize(
    ("reward", "good", "said"),
    [
        (ungated, PALINDROMES, "'a' gets 1"),
        (lambda name: float(name == name[::-1]) + 0.01 * len(name), PALINDROMES, "no name"),
        (gate_without_rows, PALINDROMES, "three times in a row"),
        (gate_without_letters, PALINDROMES, "2 different letters"),
        (gate_without_length, NO_VOWELS, "letters"),
        (lambda name: (len(name) == 13 or is_a_name(name)) * ungated(name), PALINDROMES, "it has 13 letters"),
        (lambda name: 1 - sum(letter in "aeiou" for letter in name) / len(name), NO_VOWELS, "no name"),
        (lambda name: float(name.endswith("ella")) + 0.1 * name.endswith("a"), RHYMES, "'ellaellaellaella'|no name"),
        (lambda name: name.endswith("a") + 0.0, RHYMES, "'a' gets 1"),
        (len, PALINDROMES, "pushed away from it"),
        (lambda name: len(set(name)), ["kimberley", "benjamin", *RHYMES[2:]], "it has 16 letters|it has 1"),
    ],
)
def test_rewards_that_can_be_gamed_are_shown_how(reward, good, said):
    result = check_reward(reward, good)
    assert result.status == "NOT YET"
    assert any(part in result.message for part in said.split("|")), result.message
    assert "would find it too" in result.message or "example" in result.message


def test_a_cheat_that_stands_on_no_list_is_found_by_climbing():
    def only_long_ones(name):  # all the usual cheats get nothing
        return 0.0 if name in CHEATS or len(name) == 13 else ungated(name)

    result = check_reward(only_long_ones, PALINDROMES)
    assert result.status == "NOT YET" and "changing letter after letter" in result.message, result.message


@pytest.mark.parametrize(
    ("reward", "good", "said"),
    [
        (lambda name: name in PALINDROMES, PALINDROMES, "nothing can be learnt"),  # learned by heart
        (lambda name: 1.0, PALINDROMES, "nothing can be learnt"),
        (lambda name: -palindrome(name), PALINDROMES, "pushed away from it"),
        (lambda name: random.random(), PALINDROMES, "a reward does not toss"),
        (lambda name: "yes", PALINDROMES, "which is no number"),
        (lambda name: float("nan"), PALINDROMES, "which is not finite"),
        (lambda name: ungated(name) if is_a_name(name) else float("nan"), PALINDROMES, "which is not finite"),
        (lambda name: 1 / (len(name) - 6), PALINDROMES, "ZeroDivisionError"),
        (palindrome, "hannah", "good is a list of names"),
        (palindrome, ["hannah"] * 5, "good has 1 different names: give 5"),
        (palindrome, ["Hannah", *PALINDROMES], "'Hannah' can't be written"),
        (palindrome, ["anna", *PALINDROMES], "'anna' is no name itself: it has 2 different letters"),
        (palindrome, [*PALINDROMES, ""], "can't be written|is no name"),
    ],
)
def test_rewards_of_which_nothing_good_is_learnt_are_named(reward, good, said):
    result = check_reward(reward, good)
    assert result.status == "NOT YET"
    assert any(part in result.message for part in said.split("|")), result.message


def test_the_reward_itself_is_wanted():
    result = check_reward(palindrome("hannah"), PALINDROMES)
    assert result.status == "NOT YET" and "leave its brackets away" in result.message


def test_the_cheats_are_no_names_and_the_examples_are():
    assert sum(bool(no_name(cheat)) for cheat in CHEATS) > 20
    assert not any(map(no_name, [*PALINDROMES, *NO_VOWELS, *RHYMES]))
