"""Exercises of notebook 11: the checks pass the solutions and name each usual mistake."""

import math

from lora_teach.exercises import TODO, check_effective_rank, check_phi

import numpy as np
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


def by_projections(A, B):
    P, Q = (M @ torch.linalg.pinv(M) for M in (A, B))
    return torch.trace(P @ Q) / small(A, B)


def by_numpy(A, B):
    U, V = (np.linalg.qr(M.numpy())[0] for M in (A, B))
    return (np.linalg.svd(U.T @ V, compute_uv=False) ** 2).sum() / small(A, B)


def by_gram_schmidt(A, B):
    def orthonormal(M):
        kept = []
        for column in M.T:
            for other in kept:
                column = column - (column @ other) * other
            kept.append(column / column.norm())
        return torch.stack(kept, dim=1)

    return torch.einsum("ni,nj->ij", orthonormal(A), orthonormal(B)).pow(2).sum() / small(A, B)


@pytest.mark.parametrize(
    "right",
    [
        by_projections,
        by_numpy,
        by_gram_schmidt,
        lambda first, second: phi(first.float(), second.float()),
        lambda A, B: phi(B, A).reshape(1, 1),
        lambda A, B: torch.linalg.svdvals(bases(A, B)[0].T @ bases(A, B)[1]).square().mean(),
    ],
)
def test_unusual_right_overlaps_pass(right):
    result = check_phi(right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda A, B: phi(A, B) * small(A, B) / A.shape[1], "Divided by the larger"),
        (lambda A, B: phi(A, B) * small(A, B) / B.shape[1], "Divided by the larger"),
        (lambda A, B: phi(A, B) * small(A, B) / 3, "case 3 of 8"),  # the smaller one by heart
        (lambda A, B: (bases(A, B)[0].T @ B).square().sum() / small(A, B), "B was taken as it is"),
        (lambda A, B: (A.T @ bases(A, B)[1]).square().sum() / small(A, B), "A was taken as it is"),
        (lambda A, B: phi(A, B) * small(A, B) / len(A), "expected"),
        (lambda A, B: phi(A, B).sqrt(), "expected"),
        (lambda A, B: 1 - phi(A, B), "expected"),
        (lambda A, B: phi(A.div_(A.norm()), B), "changed its input A in place"),
        (lambda A, B: phi(A[:, :3], B[:, :3]), "expected"),
        (lambda A, B: torch.cosine_similarity(A[:, 0], B[:, 0], dim=0) ** 2, "expected"),
        (lambda A, B: (bases(A, B)[0].T @ bases(A, B)[1]).square(), "The shape is"),
        (lambda A, B: phi(A, B) + 1e-3, "expected"),
        (lambda A, B: torch.linalg.svdvals(bases(A, B)[0].T @ bases(A, B)[1])[0] ** 2, "expected"),
    ],
)
def test_wrong_overlaps_do_not_pass(wrong, words):
    result = check_phi(wrong)
    assert result.status == "NOT YET" and words in result.message


def by_roots(sigma):
    p = sigma / sigma.sum()
    return torch.prod(torch.where(p > 0, p**-p, 1))


@pytest.mark.parametrize(
    "right",
    [
        by_roots,
        lambda s: 2 ** -(sum(p * math.log2(p) for p in (s / s.sum()).tolist() if p)),
        lambda values: np.exp(-sum(p * np.log(p) for p in (values / values.sum()).numpy() if p > 0)),
        lambda s: torch.distributions.Categorical(s).entropy().exp(),
        lambda s: torch.exp(-torch.xlogy(s / s.sum(), s / s.sum()).sum()).float(),
        lambda s: torch.exp(s.sum().log() - torch.xlogy(s, s).sum() / s.sum()),
    ],
)
def test_unusual_right_effective_ranks_pass(right):
    result = check_effective_rank(right)
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda s: 2 ** entropy(s / s.sum()), "ln and 2**"),
        (lambda s: entropy(s / s[0]).exp(), "not by the largest"),
        (lambda s: torch.count_nonzero(s), "That is the rank"),
        (lambda s: round(float(effective_rank(s))), "needn't be a whole number"),
        (lambda s: effective_rank(s[s > 1]), "expected"),
        (lambda s: effective_rank(s.div_(s.sum())), "changed its input sigma in place"),
        (lambda s: effective_rank(s + 1e-2), "expected"),
        (lambda s: s.sum() / s.max(), "expected"),
        (lambda s: s.sum() ** 2 / s.square().sum(), "another measure"),
        (lambda s: entropy(s.softmax(0)).exp(), "expected"),
        (lambda s: torch.special.entr(s / s.sum()).exp().sum(), "expected"),
        (lambda s: torch.special.entr(s / s.sum()).mean().exp(), "expected"),
        (lambda s: torch.tensor(2.8529), "expected"),
    ],
)
def test_wrong_effective_ranks_do_not_pass(wrong, words):
    result = check_effective_rank(wrong)
    assert result.status == "NOT YET" and words in result.message
