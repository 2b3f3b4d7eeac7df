"""Exercises of notebook 11: intruders, and a choice by accuracy and forgetting."""

from lora_teach.exercises.check import Draw, attempt, cases, check, compare
from lora_teach.measure.intruders import intruder_dimensions as right_intruders

import torch


@check
def check_intruders(intruders):
    """Check ``intruders(W0, W1, epsilon, k)``: which of W1's k leading left singular vectors are unlike all of W0's."""
    given = []
    for seed, rows, columns, rank, size, epsilon, k in SHAPES:
        draw = Draw(seed)
        W0 = draw.matrix(rows, columns)
        update = draw.matrix(rows, rank) @ draw.matrix(rank, columns)
        given.append((W0, W0 + size * update, epsilon, k))
    W0 = given[0][0]
    U, _, Vh = torch.linalg.svd(W0, full_matrices=False)
    given.append((W0, W0 + 20 * torch.outer(U[:, -1], Vh[-1]), 0.5, 4))  # an old direction has moved up: no intruder
    given.append((W0, W0.clone(), 0.5, 4))  # nothing has moved
    for W0, W1, epsilon, k in cases(given):
        got = attempt(intruders, W0=W0, W1=W1, epsilon=epsilon, k=k)
        compare(got, right_intruders(W0, W1, epsilon, k), _intruder_mistakes(W0, W1, epsilon, k))
    return "places in the spectrum, 0 for the largest; a weight that has not moved has none."


SHAPES = [  # seed, rows, columns, the update's rank and size, ε, and k
    (11, 20, 12, 4, 1.0, 0.5, 8),  # each usual mistake gives another answer here
    (19, 12, 20, 2, 2.0, 0.7, 5),
    (27, 24, 24, 4, 0.5, 0.5, 8),
    (35, 16, 10, 10, 1.5, 0.65, 10),  # all of W0's space would hold some of these
    (43, 30, 18, 1, 3.0, 0.5, 3),
]


def _intruder_mistakes(W0, W1, epsilon, k):
    """Return the usual wrong answers for these two weights; None where one can't be computed."""
    (U0, _, V0), (U1, _, V1) = (torch.linalg.svd(W, full_matrices=False) for W in (W0, W1))
    cosines = U1[:, :k].T @ U0  # (k, n)
    update = torch.linalg.svd(W1 - W0, full_matrices=False).U[:, :k].T @ U0

    def below(nearest):
        return torch.nonzero(nearest < epsilon).flatten().tolist()

    right = below(cosines.abs().amax(1))
    return [
        (len(right), "That is how many there are; return the list of their places."),
        ([one for one in range(k) if one not in right], "Those are the others: an intruder's nearest is below ε."),
        ((cosines.abs().amax(1) < epsilon).tolist(), "That is yes or no for each; return the places of the yes."),
        ([place + 1 for place in right], "Places count from 0: the largest singular value's is 0."),
        (below(cosines.amax(1)), "A singular vector's sign means nothing: take |cosine|."),
        (
            below((V1[:k] @ V0.T).abs().amax(1)),
            "Those are right singular vectors: take the left ones, the columns of U.",
        ),
        (below((U1.T @ U0).abs().amax(1)), "All of W1's singular vectors were looked at; the first k are asked for."),
        (
            below(cosines.abs().amax(0)),
            "That asks of each of W0's vectors whether W1 still has it: the other way round.",
        ),
        (below(cosines[:, :k].abs().amax(1)), "W0's first k are not enough: an old direction may have moved up."),
        (below(cosines.diagonal().abs()), "The vector at the same place is not enough: compare with all of W0's."),
        (below(cosines.square().amax(1)), "Squared: ε is compared with the |cosine| itself."),
        (below(cosines.abs().mean(1)), "The mean over W0's vectors: what counts is the nearest one, the largest."),
        (below(update.abs().amax(1)), "Those are the directions of ΔW; asked is about those of W1, the tuned weight."),
    ]


# PEFT's method comparison: MetaMathQA, Llama-3.2-3B, one seed each; (test accuracy, forgetting), rounded. Forgetting is
# by how much the loss on a sample of Wikipedia rose. https://github.com/huggingface/peft/tree/main/method_comparison
PEFT_RUNS = {
    "LoRA r=32, q v": (0.478, 0.050),
    "LoRA r=10, MLP": (0.494, 0.032),
    "rsLoRA r=64, q v": (0.513, 0.111),
    "DoRA r=32, q v": (0.469, 0.051),
    "LoRA-FA r=32, q v": (0.404, 0.061),
    "Lily": (0.526, 0.216),
    "full fine-tuning": (0.472, 0.030),
}


@check
def check_frontier(frontier):
    """Check ``frontier(runs)``: the runs that no other beats in accuracy and forgetting, the most accurate first."""
    for runs in cases([TABLES[0], PEFT_RUNS, *TABLES[1:]]):
        got, right = attempt(frontier, runs=runs), _frontier(runs)
        if isinstance(got, (list, tuple)) and sorted(map(str, got)) == sorted(right):
            right.sort(key=list(got).index)  # equally accurate ones may stand in either order
            right.sort(key=lambda name: -runs[name][0])
        compare(got, right, _frontier_mistakes(runs))
    said = ", ".join(_frontier(PEFT_RUNS))
    return f"PEFT's rule leaves {said}. Which of them is yours to choose: how much accuracy is a loss elsewhere worth?"


TABLES = [
    {"a": (0.4, 0.05), "b": (0.4, 0.2), "c": (0.5, 0.1), "d": (0.5, 0.3), "e": (0.5, 0.2), "f": (0.6, 0.2)}
    | {"g": (0.6, 0.2)},  # each usual mistake gives another answer here
    {"a": (0.5, 0.2), "b": (0.5, 0.1), "c": (0.4, 0.1), "d": (0.3, 0.05)},  # equal in one: a and c are beaten by b
    {"a": (0.4, 0.1), "b": (0.6, 0.1), "c": (0.6, 0.1), "d": (0.7, 0.3)},  # twins: neither beats the other
    {"alone": (0.3, 0.9)},
    {"a": (0.6, -0.01), "b": (0.5, 0.0), "c": (0.55, -0.02), "d": (0.2, 0.4)},  # it can fall below zero
    {"a": (0.2, 0.1), "b": (0.4, 0.2), "c": (0.6, 0.3), "d": (0.8, 0.4)},  # each is best at something
]


def _beats(other, one, strictly=any):
    """Whether a run is as good in both and better in one; with ``strictly=all`` better in both."""
    better = other[0] > one[0], other[1] < one[1]
    return other[0] >= one[0] and other[1] <= one[1] and strictly(better)


def _frontier(runs, beats=_beats):
    """Return the names of the runs that no run beats, the most accurate first."""
    left = [name for name, one in runs.items() if not any(beats(other, one) for other in runs.values())]
    return sorted(left, key=lambda name: -runs[name][0])


def _frontier_mistakes(runs):
    """Return the usual wrong answers for this table."""
    right, by_accuracy = _frontier(runs), sorted(runs, key=lambda name: -runs[name][0])
    twins = [name for name in right if sum(runs[name] == one for one in runs.values()) == 1]
    either = _frontier(runs, lambda other, one: other[0] > one[0] or other[1] < one[1])
    flipped = _frontier({name: (accuracy, -forgot) for name, (accuracy, forgot) in runs.items()})
    return [
        (by_accuracy[:1], "That is accuracy alone: a run that forgets less may stay, though it is less accurate."),
        (sorted(runs, key=lambda name: runs[name][1])[:1], "That is forgetting alone: accuracy counts as much."),
        (by_accuracy, "Those are all runs: leave out those that another beats."),
        (flipped, "Forgetting counts the wrong way: the lower, the better."),
        (_frontier(runs, lambda other, one: _beats(other, one, all)), "As good in one and better in the other beats."),
        (
            [],
            "Nothing is left: does each beat itself? And better in one is not enough: in the other it must be as good.",
        ),
        (either, "Better in one is not enough: in the other it must be at least as good."),
        (twins, "A run that is equal in both does not beat: two equal ones both stay."),
        ([name for name in by_accuracy if name not in right], "Those are the beaten ones; the others stay."),
        ([name for name in runs if name in right], "The right runs, in the table's order: the most accurate first."),
        (right[::-1], "The right runs, the other way round: the most accurate first."),
        ({name: runs[name] for name in right}, "The right runs; return the list of their names."),
        (set(right), "The right runs; a set has no order: return a list, the most accurate first."),
    ]
