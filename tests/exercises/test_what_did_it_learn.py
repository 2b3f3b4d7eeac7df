"""Exercises of notebook 11: the checks pass the solutions and name each usual mistake."""

from lora_teach.exercises import TODO, check_frontier, check_intruders
from lora_teach.exercises.what_did_it_learn import PEFT_RUNS
from lora_teach.measure import intruder_dimensions

import numpy as np
import pytest
import torch


def cosines(W0, W1, k):
    U0, U1 = (torch.linalg.svd(W, full_matrices=False).U for W in (W0, W1))
    return U1[:, :k].T @ U0


def below(nearest, epsilon):
    return torch.nonzero(nearest < epsilon).flatten().tolist()


def intruders(W0, W1, epsilon, k):
    return below(cosines(W0, W1, k).abs().amax(1), epsilon)


def frontier(runs):
    def beaten(accuracy, forgot):
        return any(a >= accuracy and f <= forgot and (a, f) != (accuracy, forgot) for a, f in runs.values())

    return sorted((name for name, one in runs.items() if not beaten(*one)), key=lambda name: -runs[name][0])


@pytest.mark.parametrize(("check", "solution"), [(check_intruders, intruders), (check_frontier, frontier)])
def test_the_solutions_pass_and_the_stubs_are_todo(check, solution):
    assert check(solution).passed
    assert check(lambda *given: TODO).status == "TODO"
    assert check(lambda *given: None).status == "NOT YET"


def test_the_frontier_of_pefts_runs_is_named():
    result = check_frontier(frontier)
    assert "leaves Lily, rsLoRA r=64, q v, LoRA r=10, MLP, full fine-tuning." in result.message
    assert frontier(PEFT_RUNS) == ["Lily", "rsLoRA r=64, q v", "LoRA r=10, MLP", "full fine-tuning"]


def one_by_one(W0, W1, epsilon, k):
    old, new = (np.linalg.svd(W.numpy(), full_matrices=False)[0] for W in (W0, W1))
    return [i for i in range(k) if all(abs(new[:, i] @ old[:, j]) < epsilon for j in range(old.shape[1]))]


def by_eigenvectors(W0, W1, epsilon, k):
    old = torch.linalg.eigh(W0.double() @ W0.double().T).eigenvectors[:, -min(W0.shape) :]
    new = torch.linalg.eigh(W1.double() @ W1.double().T).eigenvectors.flip(1)[:, :k]
    return below((new.T @ old).abs().amax(1), epsilon)


@pytest.mark.parametrize(
    "right",
    [
        one_by_one,
        by_eigenvectors,
        intruder_dimensions,
        lambda *given: tuple(intruders(*given)),
        lambda *given: torch.tensor(intruders(*given)),
        lambda W0, W1, epsilon, k: np.flatnonzero(cosines(W0, W1, k).abs().amax(1).numpy() < epsilon),
    ],
)
def test_unusual_right_intruders_pass(right):
    result = check_intruders(right)
    assert result.passed, result.message


def right_vectors(W0, W1, epsilon, k):
    V0, V1 = (torch.linalg.svd(W, full_matrices=False).Vh for W in (W0, W1))
    return below((V1[:k] @ V0.T).abs().amax(1), epsilon)


def of_the_update(W0, W1, epsilon, k):
    U0, U1 = (torch.linalg.svd(W, full_matrices=False).U for W in (W0, W1 - W0))
    return below((U1[:, :k].T @ U0).abs().amax(1), epsilon)


def near_the_whole_space(W0, W1, epsilon, k):
    U1 = torch.linalg.svd(W1, full_matrices=False).U
    return below((U1[:, :k].T @ torch.linalg.svd(W0).U).abs().amax(1), epsilon)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda *given: len(intruders(*given)), "how many there are"),
        (lambda *given: [one for one in range(given[3]) if one not in intruders(*given)], "Those are the others"),
        (lambda W0, W1, e, k: (cosines(W0, W1, k).abs().amax(1) < e).tolist(), "yes or no"),
        (lambda *given: [place + 1 for place in intruders(*given)], "count from 0"),
        (lambda W0, W1, e, k: below(cosines(W0, W1, k).amax(1), e), "take |cosine|"),
        (right_vectors, "right singular vectors"),
        (lambda W0, W1, e, k: intruders(W0, W1, e, min(W1.shape)), "first k are asked for"),
        (lambda W0, W1, e, k: below(cosines(W0, W1, k).abs().amax(0), e), "the other way round"),
        (lambda W0, W1, e, k: below(cosines(W0, W1, k)[:, :k].abs().amax(1), e), "W0's first k"),
        (lambda W0, W1, e, k: below(cosines(W0, W1, k).diagonal().abs(), e), "at the same place"),
        (lambda W0, W1, e, k: below(cosines(W0, W1, k).square().amax(1), e), "Squared"),
        (lambda W0, W1, e, k: below(cosines(W0, W1, k).abs().mean(1), e), "the nearest one"),
        (of_the_update, "directions of ΔW"),
        (near_the_whole_space, "case 4 of 7"),
        (lambda W0, W1, e, k: intruders(W0, W1, 0.5, k), "expected"),
        (lambda W0, W1, e, k: intruders(W1, W0, e, k), "expected"),
        (lambda W0, W1, e, k: [], "expected"),
        (lambda W0, W1, e, k: intruders(W0, W1.sub_(W0), e, k), "changed its input W1"),
    ],
)
def test_wrong_intruders_are_told(wrong, words):
    result = check_intruders(wrong)
    assert result.status == "NOT YET" and words in result.message, result.message


def swept(runs):
    left, lowest = [], float("inf")
    for name in sorted(runs, key=lambda name: (-runs[name][0], runs[name][1])):
        if runs[name][1] < lowest or runs[name] in [runs[one] for one in left]:
            left.append(name)
            lowest = runs[name][1]
    return left


def by_arrays(runs):
    table = np.array(list(runs.values())).reshape(-1, 2) * [1, -1]
    beaten = [any((other >= one).all() and (other > one).any() for other in table) for one in table]
    left = [name for name, out in zip(runs, beaten, strict=True) if not out]
    return sorted(left, key=lambda name: runs[name][0], reverse=True)


@pytest.mark.parametrize(
    "right",
    [
        swept,
        by_arrays,
        lambda runs: tuple(frontier(runs)),
        lambda runs: frontier(dict(reversed(runs.items()))),  # equally accurate ones in the other order
        lambda table: [*frontier(dict(table))],
        lambda runs: [name for name in sorted(runs, key=lambda one: -runs[one][0]) if name in frontier(runs)],
    ],
)
def test_unusual_right_frontiers_pass(right):
    result = check_frontier(right)
    assert result.passed, result.message


def kept(beats):
    """A frontier with another idea of being beaten."""

    def left(runs):
        names = [name for name, one in runs.items() if not any(beats(other, one) for other in runs.values())]
        return sorted(names, key=lambda name: -runs[name][0])

    return left


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda runs: frontier(runs)[:1], "accuracy alone"),
        (lambda runs: sorted(runs, key=lambda name: runs[name][1])[:1], "forgetting alone"),
        (lambda runs: sorted(runs, key=lambda name: -runs[name][0]), "Those are all runs"),
        (kept(lambda o, one: o[0] >= one[0] and o[1] >= one[1] and o != one), "the wrong way"),
        (kept(lambda o, one: o[0] > one[0] and o[1] < one[1]), "As good in one and better in the other beats"),
        (kept(lambda o, one: o[0] > one[0] or o[1] < one[1]), "better in one is not enough"),
        (kept(lambda o, one: o[0] >= one[0] and o[1] <= one[1]), "does each beat itself"),
        (lambda runs: [name for name in runs if name in frontier(runs)], "in the table's order"),
        (lambda runs: frontier(runs)[::-1], "the other way round"),
        (lambda runs: {name: runs[name] for name in frontier(runs)}, "the list of their names"),
        (lambda runs: set(frontier(runs)), "a set has no order"),
        (lambda runs: [name for name in runs if name not in frontier(runs)], "expected"),
        (lambda runs: frontier(PEFT_RUNS), "expected"),
        (lambda runs: list({runs[name]: name for name in frontier(runs)}.values()), "case 1 of"),
        (lambda runs: frontier({name: (one, max(two, 0)) for name, (one, two) in runs.items()}), "case 6 of"),
        (lambda runs: runs.clear() or [], "changed its input runs"),
    ],
)
def test_wrong_frontiers_are_told(wrong, words):
    result = check_frontier(wrong)
    assert result.status == "NOT YET" and words in result.message, result.message
