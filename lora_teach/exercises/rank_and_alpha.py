"""Checks of notebook 05: rates that make another run the same run, and a search over rank, alpha and learning rate."""

from statistics import mean

from lora_teach.exercises.check import attempt, cases, check, compare, expect
from lora_teach.measure.results import load_result


@check
def check_same_run(same_run):
    """Check ``same_run(s, size_A, lr_A, lr_B, new_s, new_size_A)``: the two rates with which the run stays the same."""
    given = [
        (2.0, 3.0, 0.01, 0.03, 0.5, 2.0),  # the usual mistakes all give different answers here
        (1.0, 1.0, 0.01, 0.01, 0.25, 4.0),  # as in the notebook: only A's rate changes
        (2.0, 1.0, 0.01, 0.03, 0.5, 1.0),
        (0.25, 2.0, 0.003, 0.01, 0.25, 0.5),
        (16 / 8, 1.0, 1e-3, 4e-3, 16 / 8**0.5, 14.0),
        (0.01, 14.0, 0.1, 0.3, 1.0, 1.0),
    ]
    for s, size_A, lr_A, lr_B, new_s, new_size_A in cases(given):
        got = attempt(same_run, s=s, size_A=size_A, lr_A=lr_A, lr_B=lr_B, new_s=new_s, new_size_A=new_size_A)
        right = (lr_A * new_size_A / size_A, lr_B * s * size_A / (new_s * new_size_A))
        mistakes = _rate_mistakes(s, size_A, lr_A, lr_B, new_s / s, new_size_A / size_A)
        compare(got, right, mistakes, what="(A's rate, B's rate)", atol=1e-9)
    return "lr_A / σ_A and s · σ_A · lr_B stay what they were, so every loss does."


def _rate_mistakes(s, size_A, lr_A, lr_B, factor, size):
    """The usual wrong answers; ``factor`` and ``size`` are how many times as large s and A have become."""
    A, B = lr_A * size, lr_B / (factor * size)
    return [
        ((B, A), "The two rates are the wrong way round: A's comes first."),
        ((lr_A / size_A, s * size_A * lr_B), "Those are the two numbers that stay; return the two rates."),
        (A, "Two rates are wanted, A's and B's."),
        ((lr_A, lr_B), "Nothing was changed: at least one of the two numbers is now another."),
        ((lr_A, B), "A's rate: lr_A / σ_A has changed, since A starts at another size."),
        ((A, lr_B), "B's rate: s · σ_A · lr_B has changed."),
        ((A, lr_B / factor), "B's rate: the size of A is in s · σ_A · lr_B as well."),
        ((A, lr_B / size), "B's rate: s is in s · σ_A · lr_B as well."),
        ((lr_A / size, B), "A's rate is upside down: an A that is larger has to move farther."),
        ((A, lr_B * factor * size), "B's rate is upside down: what s and σ_A make larger, it makes up for."),
        ((A / factor, B), "A's rate: s has no part in it, as Adam divides the gradient's size out."),
        ((A * factor, B), "A's rate: s has no part in it, as Adam divides the gradient's size out."),
    ]


RUNS, WANTED = 8, 0.8  # how often a search may train; the share of test digits that its choice must read, mean of seeds


@check
def check_black_paper(search):
    """Check ``search(train)``: it returns a good (rank, alpha, lr) for digits on black paper after at most 8 runs.

    ``train(rank, alpha, lr)`` answers at once from ``data/black_paper.json``: every run of a grid was trained before.
    """
    trainer = Trainer()
    try:
        got = attempt(search, changes=("train",), train=trainer)
    finally:
        tried, refused = dict(trainer.tried), trainer.refused
        trainer.begin()
    expect(not refused, TOO_MANY)
    choice = _choice(got, tried)
    test = trainer.results[trainer.place(*choice)]["test"]
    said = f"{_named(choice)}: {mean(test):.0%} of the test digits ({', '.join(f'{seed:.0%}' for seed in test)})"
    expect(mean(test) >= WANTED, f"{said}; {WANTED:.0%} are wanted\n  {_advice(choice, test, tried)}")
    return f"{said}, found in {len(tried)} runs. What made the difference was alpha, not the rank."


TOO_MANY = f"That was run {RUNS + 1}; {RUNS} are all you have: decide after each what the next one should tell you."


class Trainer:
    """What a search is given: ``train(rank, alpha, lr)`` is the share of validation digits read after 200 steps.

    Attributes:
        tried: ``{(rank, alpha, lr): share}`` since it began.
    """

    def __init__(self):
        found = load_result("black_paper")
        settings, self.results = found["settings"], found["results"]
        self.grid = {"rank": settings["ranks"], "alpha": settings["alphas"], "lr": settings["rates"]}
        self.begin()

    def begin(self):
        """Forget what was tried."""
        self.tried, self.refused = {}, False

    def __call__(self, rank, alpha, lr):
        """Look the run up; a ninth ends the check."""
        place = (rank, alpha, lr)
        for (name, allowed), value in zip(self.grid.items(), place, strict=True):
            expect(value in allowed, f"train has no run with {name}={value!r}. Use one of {_listed(allowed)}.")
        if place not in self.tried and len(self.tried) == RUNS:
            self.refused = True
        expect(not self.refused, TOO_MANY)
        self.tried[place] = self.results[self.place(*place)]["validation"]
        return self.tried[place]

    def __repr__(self):
        return "train"

    @staticmethod
    def place(rank, alpha, lr):
        """The key of a run in the file."""
        return f"{rank:g} {alpha:g} {lr:g}"


def _choice(got, tried):
    """The choice as (rank, alpha, lr), one of those that were tried."""
    triple = isinstance(got, (tuple, list)) and len(got) == 3
    expect(triple, f"came: {got!r}\n  Return three numbers: rank, alpha and learning rate.")
    expect(tried, "Nothing was trained: call train(rank, alpha, lr), and choose by what it says.")
    choice = tuple(got)
    known = choice in tried
    turned = next((one for one in tried if not known and sorted(one) == sorted(map(_number, choice))), None)
    expect(turned is None, f"came: {choice}\n  The order is rank, alpha, learning rate: {turned}.")
    expect(known, f"came: {choice}\n  That was never trained: choose one of your runs.")
    return choice


def _number(value):
    return value if isinstance(value, (int, float)) else float("nan")


def _advice(choice, test, tried):
    """Say what is wrong with a choice, beginning with what no other number could mend."""
    rank, alpha, lr = choice
    alphas, rates = ({run[place] for run in tried} for place in (1, 2))
    best = max(tried, key=tried.get)
    if tried[best] > tried[choice]:
        return f"Another of your runs was better on the validation digits: {_named(best)}."
    if len(alphas) == 1 and alpha < 512:
        return f"Alpha was {alpha} in every run. What makes B faster than A? Notebook 05's two numbers say it."
    if len(rates) == 1 and lr > 0.003:
        return f"The learning rate was {lr:g} in every run: a larger alpha wants a lower one."
    if rank == 1:
        return "At rank 1 no alpha and no rate gets past a quarter: one direction is too few here."
    if min(test) < 0.15:
        return (
            "One seed or more never left chance: with this alpha that rate is too high. Validation has one seed only."
        )
    if alpha < 512:
        return f"With α = {alpha} no rank and no rate reaches {WANTED:.0%} in 200 steps: B is too slow still."
    return "Alpha is right; try a rank from 4 up, and the rates on both sides of this one."


def _named(choice):
    rank, alpha, lr = choice
    return f"rank {rank}, α = {alpha}, lr {lr:g}"


def _listed(values):
    return ", ".join(f"{value:g}" for value in values)
