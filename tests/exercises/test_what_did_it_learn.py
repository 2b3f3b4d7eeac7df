"""Exercises of notebook 11: the checks pass the solutions and name each usual mistake."""

from lora_teach.exercises import TODO, check_effective_rank, check_phi

import pytest
import torch


def bases(A, B):
    return torch.linalg.qr(A).Q, torch.linalg.qr(B).Q


def phi(A, B):
    U, V = bases(A, B)
    return (U.T @ V).square().sum() / min(A.shape[1], B.shape[1])


def phi_from_singular_vectors(A, B):
    U, V = (torch.linalg.svd(M, full_matrices=False).U for M in (A, B))
    return ((U.T @ V).norm() ** 2 / min(U.shape[1], V.shape[1])).item()


def small(A, B):
    return min(A.shape[1], B.shape[1])


def effective_rank(sigma):
    p = sigma / sigma.sum()
    return torch.special.entr(p).sum().exp()


def by_hand(sigma):
    p = sigma[sigma > 0] / sigma.sum()
    return float(torch.exp(-(p * p.log()).sum()))


@pytest.mark.parametrize("solution", [phi, phi_from_singular_vectors])
def test_solutions_of_phi_pass(solution):
    assert check_phi(solution).passed


@pytest.mark.parametrize("solution", [effective_rank, by_hand])
def test_solutions_of_the_effective_rank_pass(solution):
    assert check_effective_rank(solution).passed


@pytest.mark.parametrize("check", [check_phi, check_effective_rank])
def test_stubs_are_told_apart_from_answers(check):
    assert check(lambda *given: given[0].sum() * TODO).status == "TODO"
    assert check(lambda *given: None).status == "NOT YET"


def unit(M):
    return M / M.norm(dim=0)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (lambda A, B: (bases(A, B)[0].T @ bases(A, B)[1]).norm() / small(A, B), "No square"),
        (lambda A, B: (bases(A, B)[0].T @ bases(A, B)[1]).abs().sum() / small(A, B), "cosines are squared"),
        (lambda A, B: (bases(A, B)[0].T @ bases(A, B)[1]).sum() / small(A, B), "signs cancel"),
        (lambda A, B: phi(A, B) * small(A, B) / max(A.shape[1], B.shape[1]), "Divided by the larger"),
        (lambda A, B: phi(A, B) / max(A.shape[1], B.shape[1]), "mean squared cosine"),
        (lambda A, B: phi(A, B) * small(A, B), "not divided by min"),
        (lambda A, B: (A.T @ B).square().sum() / small(A, B), "taken as they are"),
        (lambda A, B: (unit(A).T @ unit(B)).square().sum() / small(A, B), "not orthogonal"),
    ],
)
def test_each_mistake_with_phi_is_named(mistake, said):
    result = check_phi(mistake)
    assert result.status == "NOT YET" and said in result.message


def entropy(p):
    return torch.special.entr(p).sum()


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (lambda s: entropy(s.square() / s.square().sum()).exp(), "made of σ²"),
        (lambda s: entropy(s / s.sum()), "That is the entropy"),
        (lambda s: (-entropy(s / s.sum())).exp(), "A sign is missing"),
        (lambda s: entropy(s).exp(), "divide them by their sum"),
        (lambda s: torch.exp(-(s / s.sum() * (s / s.sum()).log2()).sum()), "log2 and exp"),
        (lambda s: 1 / (s / s.sum()).square().sum(), "another measure"),
        (lambda s: len(s), "That is the rank"),
        (lambda s: torch.exp(-(s / s.sum() * (s / s.sum()).log()).sum()), "0 · ln 0 counts as 0"),
    ],
)
def test_each_mistake_with_the_effective_rank_is_named(mistake, said):
    result = check_effective_rank(mistake)
    assert result.status == "NOT YET" and said in result.message
