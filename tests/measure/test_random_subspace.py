"""A random subspace moves along d orthogonal directions of length 1, and nothing but z trains."""

from lora_teach.bases import load_digit_net
from lora_teach.measure.random_subspace import RandomSubspace

import pytest
import torch
from torch import nn


def moves(model):
    """How far each direction moves the weights, one after the other: (d, parameters)."""
    before, columns = torch.cat([p.flatten() for p in model.base.parameters()]), []
    for place in range(model.z.numel()):
        with torch.no_grad():
            model.z.zero_()[place] = 1
        columns.append(torch.cat([p.flatten() for p in model.moved().values()]).detach() - before)
    return torch.stack(columns)


def test_the_directions_are_orthogonal_and_nearly_of_length_1():
    P = moves(RandomSubspace(nn.Linear(30, 10), 7)).double()
    gram = P @ P.T
    assert torch.allclose(gram.diagonal(), torch.ones(7, dtype=torch.float64), atol=0.03)  # 310 weights, 7 numbers
    assert torch.allclose(gram - gram.diag().diag(), torch.zeros(7, 7, dtype=torch.float64), atol=1e-6)
    assert (P != 0).sum(0).eq(1).all()  # each weight follows one number


def test_at_the_start_it_is_the_base_and_only_z_trains():
    base = load_digit_net()
    model, x = RandomSubspace(base, 5), torch.rand(4, 64)
    before = [p.clone() for p in base.parameters()]
    assert torch.equal(model(x), load_digit_net()(x))
    loss = nn.functional.cross_entropy(model(x), torch.tensor([1, 2, 3, 4]))
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["z"] and model.z.grad.any()
    torch.optim.SGD([model.z], lr=0.1).step()
    assert not torch.equal(model(x), load_digit_net()(x)) and all(map(torch.equal, before, base.parameters()))


def test_the_gradient_is_that_of_the_weights_in_the_directions():
    model, x = RandomSubspace(nn.Linear(6, 2), 3, seed=1), torch.rand(5, 6)
    P, plain = moves(model), nn.Linear(6, 2)
    plain.load_state_dict(model.base.state_dict())
    with torch.no_grad():
        model.z.zero_()
    model(x).square().sum().backward()
    plain.requires_grad_(True)(x).square().sum().backward()
    whole = torch.cat([p.grad.flatten() for p in plain.parameters()])
    assert torch.allclose(model.z.grad, P @ whole, atol=1e-5)


def test_the_seed_decides_the_directions():
    base = nn.Linear(6, 2)
    one, same, other = (moves(RandomSubspace(base, 3, seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (15, ValueError), (2.5, TypeError), (True, TypeError)])
def test_a_size_that_cannot_be_is_refused(size, error):
    with pytest.raises(error, match="size"):
        RandomSubspace(nn.Linear(6, 2), size)
    assert RandomSubspace(nn.Linear(6, 2), 14).z.numel() == 14
