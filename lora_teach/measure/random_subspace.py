"""Train d numbers instead of all: every weight moves along d random directions, θ = θ₀ + P z, and only z is trained.

The smallest d that reaches 90 % of what training everything reaches is the intrinsic dimension d90 of a task. C. Li and
others 2018, Measuring the Intrinsic Dimension of Objective Landscapes, arXiv 1804.08838; for fine-tuning A. Aghajanyan
and others 2020, Intrinsic Dimensionality Explains the Effectiveness of Language Model Fine-Tuning, arXiv 2012.13255,
which the paper of LoRA names as its reason.
"""

from lora_teach.utils.validation import check_count

import torch
from torch import nn
from torch.func import functional_call


class RandomSubspace(nn.Module):
    """A frozen model whose weights move along d random directions; ``z`` ``(d,)``, zeros at first, is all that trains.

    Each weight follows one of the d numbers, drawn at random, with a random sign. So P has a single entry in each row;
    its columns are orthogonal, and each is scaled to length 1: a step of z moves the weights just as far.

    Args:
        base: Any model; it is frozen and stays as it is.
        size: How many directions, d; at most the number of the model's parameters.
        seed: Decides the directions.

    Raises:
        TypeError: ``size`` is not a whole number.
        ValueError: ``size`` is below 1 or above the number of parameters.

    Differs from the papers:
        Theirs is a dense P, or Fastfood's product; both take more time or memory, and reach the same.

    >>> model = RandomSubspace(nn.Linear(3, 2), size=4)
    >>> [tuple(p.shape) for p in model.parameters() if p.requires_grad]
    [(4,)]
    """

    def __init__(self, base, size, seed=0):
        super().__init__()
        self.base = base.requires_grad_(False)
        total, size = sum(p.numel() for p in base.parameters()), check_count("size", size)
        if size > total:
            raise ValueError(f"size={size} is above the model's {total} parameters. Use 1..{total}.")
        draw = torch.Generator().manual_seed(seed)
        place = torch.arange(total).remainder(size)[torch.randperm(total, generator=draw)]  # each number equally often
        sign = torch.randint(2, (total,), generator=draw) * 2 - 1
        self.register_buffer("place", place, persistent=False)  # (total,)
        self.register_buffer("sign", sign / (total / size) ** 0.5, persistent=False)  # (total,)
        self.z = nn.Parameter(torch.zeros(size))

    def moved(self):
        """Return ``{name: θ₀ + P z}`` of the base's parameters."""
        named = dict(self.base.named_parameters())
        steps = (self.z[self.place] * self.sign).split([p.numel() for p in named.values()])
        return {name: p + step.view_as(p) for (name, p), step in zip(named.items(), steps, strict=True)}

    def forward(self, *args, **kwargs):
        """Return the base's output with the moved weights."""
        return functional_call(self.base, self.moved(), args, kwargs)
