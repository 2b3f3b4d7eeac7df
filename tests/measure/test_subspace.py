"""φ: against a slow implementation, in cases with a known answer, and beside chance."""

from lora_teach import LoRALayer
from lora_teach.measure import random_similarity, similarity_map, subspace_similarity
from lora_teach.measure.subspace import directions, random_similarities

import pytest
import torch


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow(A, B, i, j):
    """The sum of the squared cosines, one pair after another; directions from the eigenvectors of A Aᵀ."""
    first, second = (torch.linalg.eigh(M @ M.T).eigenvectors.flip(1) for M in (A, B))
    total = 0.0
    for m in range(i):
        for n in range(j):
            total += sum(float(first[row, m]) * float(second[row, n]) for row in range(len(A))) ** 2
    return total / min(i, j)


@pytest.mark.parametrize("seed", range(12))
def test_it_is_the_mean_squared_cosine_of_the_directions(seed):
    generator = torch.Generator().manual_seed(seed)
    rows, a, b = (int(torch.randint(2, 9, (), generator=generator)) for _ in range(3))
    A, B = some(rows, a, seed=seed), some(rows, b, seed=seed + 100)
    i, j = 1 + seed % min(rows, a), 1 + seed % min(rows, b)
    assert subspace_similarity(A, B, i, j) == pytest.approx(slow(A, B, i, j), abs=1e-10)


def test_the_map_holds_every_pair():
    A, B = some(7, 4), some(7, 5, seed=1)
    heat = similarity_map(A, B, 3, 5)
    assert heat.shape == (3, 5)
    for i in range(3):
        for j in range(5):
            assert heat[i, j].item() == pytest.approx(subspace_similarity(A, B, i + 1, j + 1), abs=1e-12)


def test_a_space_is_like_itself_however_it_is_turned_stretched_or_spanned():
    A = some(9, 3)
    turned = A @ torch.linalg.qr(some(3, 3, seed=1)).Q @ torch.diag(torch.tensor([5.0, 0.1, 1.0], dtype=torch.float64))
    assert subspace_similarity(A, turned) == pytest.approx(1, abs=1e-12)
    assert subspace_similarity(A, A @ some(3, 8, seed=2)) == pytest.approx(1, abs=1e-12)  # eight columns, rank 3


def test_orthogonal_spaces_have_nothing_in_common_and_a_contained_one_all():
    axes = torch.eye(6, dtype=torch.float64)
    assert subspace_similarity(axes[:, :2], axes[:, 2:5]) == 0
    assert subspace_similarity(axes[:, :2], axes[:, :5]) == 1
    assert subspace_similarity(axes[:, :5], axes[:, :2]) == 1  # the order doesn't matter
    assert subspace_similarity(axes[:, :4], axes[:, 2:6]) == 0.5  # two of four


def test_the_leading_directions_are_those_of_the_largest_singular_values():
    axes = torch.eye(4, dtype=torch.float64)
    A, B = axes * torch.tensor([4.0, 3.0, 2.0, 1.0]), axes * torch.tensor([4.0, 1.0, 2.0, 3.0])
    assert [round(subspace_similarity(A, B, i, i), 9) for i in (1, 2, 3, 4)] == [1, 0.5, pytest.approx(2 / 3), 1]


def test_directions_are_orthonormal_and_as_many_as_the_rank():
    U = directions(some(8, 2) @ some(2, 5, seed=1))
    assert U.shape == (8, 2)
    assert torch.allclose(U.T @ U, torch.eye(2, dtype=torch.float64), atol=1e-12)


def test_the_a_of_a_layer_spans_the_inputs_that_its_update_reads():
    torch.manual_seed(0)
    layer = LoRALayer(12, 7, rank=3, dtype=torch.float64)
    torch.nn.init.normal_(layer.lora_B)
    assert subspace_similarity(layer.lora_A, layer.delta_weight().T) == pytest.approx(1, abs=1e-12)
    assert subspace_similarity(layer.lora_B.T, layer.delta_weight()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("rows", "i", "j"), [(12, 1, 1), (12, 2, 5), (12, 6, 6), (12, 8, 10), (5, 5, 2)])
def test_random_spaces_have_the_mean_that_is_given(rows, i, j):
    draws = random_similarities(rows, i, j, draws=4000)
    assert draws.shape == (4000,)
    assert draws.mean().item() == pytest.approx(random_similarity(rows, i, j), abs=4 * draws.std().item() / 4000**0.5)
    assert draws.min() >= max(0, i + j - rows) / min(i, j) - 1e-12 and draws.max() <= 1 + 1e-12
    slowly = [subspace_similarity(some(rows, i, seed=s), some(rows, j, seed=1000 + s)) for s in range(300)]
    assert sum(slowly) / 300 == pytest.approx(random_similarity(rows, i, j), abs=0.05)


def test_random_draws_are_decided_by_the_seed_and_leave_the_global_state():
    before = torch.get_rng_state()
    assert torch.equal(random_similarities(9, 2, 3, draws=5), random_similarities(9, 2, 3, draws=5))
    assert not torch.equal(random_similarities(9, 2, 3, draws=5), random_similarities(9, 2, 3, draws=5, seed=1))
    assert torch.equal(before, torch.get_rng_state())


def test_float32_parameters_may_be_compared_with_float64():
    layer = LoRALayer(6, 5, rank=2)
    assert subspace_similarity(layer.lora_A, layer.lora_A.detach().double()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("A", "B", "i", "j", "error", "message"),
    [
        (some(5, 2), some(6, 2), 1, 1, ValueError, "A has 5 rows and B 6"),
        (some(5, 2), some(5, 2), 3, 1, ValueError, r"i=3 is out of range: A has rank 2, .* Use 1..2"),
        (some(5, 2), some(5, 1), 1, 2, ValueError, "j=2 is out of range: B has rank 1"),
        (some(5, 2), some(5, 2), 0, 1, ValueError, "i=0 is too small"),
        (some(5, 2), some(5, 2), 1.5, 1, TypeError, "i=1.5 is not a whole number"),
        (some(5, 2), torch.zeros(5, 2), 1, 1, ValueError, "B is all zeros.*train it first"),
        ([[1.0]], some(1, 1), 1, 1, TypeError, "the matrix is a list"),
        (some(5), some(5, 2), 1, 1, ValueError, r"shape \(5,\)"),
        (some(5, 2) * float("nan"), some(5, 2), 1, 1, ValueError, "nan or inf"),
    ],
)
def test_what_cannot_be_compared_is_refused(A, B, i, j, error, message):
    with pytest.raises(error, match=message):
        subspace_similarity(A, B, i, j)
    with pytest.raises(error, match=message):
        similarity_map(A, B, i, j)


def test_more_random_directions_than_there_are_is_refused():
    with pytest.raises(ValueError, match="7 directions in a space of 6"):
        random_similarity(6, 7, 2)
    with pytest.raises(ValueError, match="i=0 is too small"):
        random_similarities(6, 0, 2)
