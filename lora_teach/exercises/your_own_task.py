"""Checks of notebook 09: examples that are held out, and how sure a score is."""

import builtins
from collections import Counter
from contextlib import contextmanager
from math import sqrt
from random import Random
from statistics import mean, stdev

from lora_teach.datasets import names
from lora_teach.exercises.check import attempt, cases, check, compare, describe, expect
from lora_teach.measure.intervals import STUDENT_T

GROWS = (
    "The list grew, and a prompt changed sides: next month the model would be asked what it has been trained on. Let "
    "each prompt decide for itself, by a number made from it, such as hashlib's."
)
LEAKS = "What was held out has been seen in training. Let each prompt decide for itself, by a number made from it."


@check
def check_hold_out(hold_out):
    """Check ``hold_out(prompts, share)``: two lists, and no prompt on both sides."""
    every = sorted(names.load("English").train)  # as loaded, they stand in the order of a hash
    Random(0).shuffle(every)
    repeated = [*every[:900], *every[:300], *(f" {name.title()} " for name in every[100:250])]
    sides = {}
    for prompts, share, what in cases(
        [
            (repeated, 0.2, "900 names, some of them twice, some with a capital letter and blanks around"),
            (repeated[::-1], 0.2, "the same, the other way round"),
            ([*every[900:1500], *repeated], 0.2, "the same with 600 new ones before them"),
            (every[2000:5000], 0.1, "3,000 other names, of which a tenth is to be held out"),
        ]
    ):
        got = attempt(hold_out, prompts=prompts, share=share)
        train, held = _two_lists(got, prompts, share, what)
        for side, part in (("train", train), ("held out", held)):
            for prompt in map(_plain, part):
                before = sides.setdefault((prompt, share), side)
                expect(before == side, f"{what}: {prompt!r} was {before}, now it is {side}.\n  {GROWS}")
        _like_the_rest(train, held, share, what)
    with _other_hash():
        again = attempt(hold_out, prompts=repeated, share=0.2)
        _, held = _two_lists(again, repeated, 0.2, "once more")
    moved = [prompt for prompt in map(_plain, held) if sides[prompt, 0.2] != "held out"]
    expect(
        not moved,
        f"In another process {len(moved)} other prompts are held out, such as {moved[:1]}: Python's own hash() differs "
        "from one process to the next. Take one that doesn't, such as hashlib's.",
    )
    return "nothing is lost, no prompt is on both sides, and none will ever change sides."


@check
def check_interval(interval):
    """Check ``interval(scores)``: the mean over seeds, and half the width of its 95 % interval."""
    for scores in cases(
        [[0.75, 0.71, 0.78], [0.2, 0.8], [0.5, 0.5, 0.5, 0.5], [0.61, 0.7, 0.66, 0.73, 0.69], [2.01, 2.05, 1.98, 2.11]]
    ):
        got = attempt(interval, scores=scores)
        expect(
            isinstance(got, (tuple, list)) and len(got) == 2,
            f"Return two numbers, the mean and half the width; came: {describe(got)}",
        )
        middle, s, n = mean(scores), stdev(scores), len(scores)
        t = STUDENT_T[n - 1]
        population = s * sqrt((n - 1) / n)
        halves = [
            (s, "That is the standard deviation of one seed. A mean of n seeds is surer, by √n."),
            (t * s, "Divide by √n: a mean of n seeds is surer than one of them."),
            (s / sqrt(n), "That is the standard error alone. Multiply it by Student's t."),
            (1.96 * s / sqrt(n), "1.96 is for many seeds. For few it is larger: Student's t, by n − 1."),
            (t * s / n, "Divide by √n, and not by n."),
            (
                t * population / sqrt(n),
                "That is the deviation over n. The mean was taken from the same seeds: divide by n − 1.",
            ),
            (2 * t * s / sqrt(n), "That is the whole width: half of it lies on each side."),
            (
                (max(scores) - min(scores)) / 2,
                "Half the span of the seeds is how far they lie apart, not how sure the mean is.",
            ),
            (STUDENT_T.get(n, 0) * s / sqrt(n), "Student's t is looked up by n − 1, not by n."),
        ]
        half = t * s / sqrt(n)
        compare(
            list(got),
            [middle, half],
            [*(([middle, wrong], said) for wrong, said in halves if abs(wrong - half) > 1e-9),
             ([middle - half, middle + half], "These are the two ends. Return the mean and half the width."),
             ([half, middle], "The wrong way round: the mean first.")],
        )  # fmt: skip
    return "a mean of few seeds with what it is worth."


def _plain(prompt):
    return prompt.strip().casefold()


def _two_lists(got, prompts, share, what):
    """Return the two sides as lists; NOT YET if they are not a division of the prompts."""
    good = isinstance(got, (tuple, list)) and len(got) == 2 and not any(isinstance(part, str) for part in got)
    expect(good, f"{what}\n  Return two lists, (train, held_out); came: {describe(got)}")
    train, held = (list(part) for part in got)
    came, given = Counter([*train, *held]), Counter(prompts)
    if came != given:
        lost, more = given - came, came - given
        which = f"{sum(lost.values())} are lost, such as {next(iter(lost), None)!r}" if lost else "none is lost"
        extra = f", {sum(more.values())} are new, such as {next(iter(more))!r}" if more else ""
        expect(
            False,
            f"{what}: {which}{extra}.\n  Each prompt comes back as it is, as often as it was given: lower case is for "
            "the decision only, and a line that stands twice is two lines.",
        )
    both = {_plain(prompt) for prompt in train} & {_plain(prompt) for prompt in held}
    expect(
        not both,
        f"{what}: {len(both)} prompts are on both sides, such as {min(both, default='')!r}; blanks around and capital "
        f"letters make no difference.\n  {LEAKS}",
    )
    return train, held


def _like_the_rest(train, held, share, what):
    """NOT YET if the share is another one, or if what is held out is of a kind of its own."""
    outside = {_plain(prompt) for prompt in held}
    every = outside | {_plain(prompt) for prompt in train}
    got = len(outside) / len(every)
    said = f"{what}: {got:.0%} of the different prompts are held out, and {share:.0%} should be"
    swapped = " The lists are the wrong way round: first what is trained on." if abs(got - (1 - share)) < 0.05 else ""
    expect(abs(got - share) < 0.045, f"{said}.{swapped}")
    kinds = {
        "first letter": lambda prompt: prompt[0],
        "last letter": lambda prompt: prompt[-1],
        "length": lambda prompt: str(len(prompt)),
    }
    for kind, of in kinds.items():
        counts, chosen = Counter(map(of, every)), Counter(map(of, outside))
        # Each value's deviation, squared, in units of the variance that a fair number has: chi-squared as a whole, so
        # that a good hash is all but never refused, however small one of the kinds.
        off = {
            value: (chosen[value] - share * count) ** 2 / (share * (1 - share) * count)
            for value, count in counts.items()
        }
        odd = max(off, key=off.get)
        expect(
            sum(off.values()) < len(off) + 10 * sqrt(2 * len(off)),
            f"{what}: of the prompts with the {kind} {odd!r} {chosen[odd] / counts[odd]:.0%} are held out, of all "
            f"{got:.0%}.\n  What is asked in the end must be like the rest: decide by a number in which every letter "
            "of the prompt counts.",
        )


@contextmanager
def _other_hash():
    """Within the block ``hash`` of a text is what another process might say."""
    own = builtins.hash
    builtins.hash = lambda value: own(f"another process: {value}") if isinstance(value, str) else own(value)
    try:
        yield
    finally:
        builtins.hash = own
