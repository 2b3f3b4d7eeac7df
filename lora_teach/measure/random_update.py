"""The control beside a claim about an update: a random one of the same size. Learned, or only how far it went?"""

import copy

import torch


def random_like(update, rank=None, generator=None):
    """Return a random matrix with the shape, rank and Frobenius norm of ``update``.

    Args:
        update: A ΔW, ``(out_features, in_features)``.
        rank: The rank; None means full.
        generator: Where the numbers come from; None takes a new one of seed 0.

    >>> drawn = random_like(torch.ones(4, 3), rank=1)
    >>> tuple(drawn.shape), round(drawn.norm().item() ** 2, 3), torch.linalg.matrix_rank(drawn).item()
    ((4, 3), 12.0, 1)
    """
    generator = generator or torch.Generator().manual_seed(0)
    rows, columns = update.shape
    if rank is None or rank >= min(rows, columns):
        drawn = torch.randn(rows, columns, generator=generator)
    else:
        drawn = torch.randn(rows, rank, generator=generator) @ torch.randn(rank, columns, generator=generator)
    return (drawn * (update.norm().item() / drawn.norm())).to(update)


@torch.no_grad()
def with_random_updates(base, model, seed=0):
    """Return a copy of ``base`` whose weights have moved as far as those that the LoRAModel ``model`` adapts.

    Each moves at its layer's rank in a random direction, which ``seed`` decides. What else ``model`` trained is left
    out.
    """
    moved, generator = copy.deepcopy(base), torch.Generator().manual_seed(seed)
    for path, layer in model.lora_layers.items():
        moved.get_submodule(path).weight += random_like(layer.delta_weight().detach(), layer.rank, generator)
    return moved
