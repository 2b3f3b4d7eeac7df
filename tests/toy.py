"""Small models, and looking at a model before and after."""

import math

from lora_teach import LoRALayer, LoRAModel

import torch
from torch import nn


def mlp(dtype=torch.float32, seed=0):
    """6 → 8 → 4, the same numbers for the same seed, without touching the global generator."""
    return fixed(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)), seed).to(dtype)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.q_proj, self.v_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        return x + self.dropout(self.v_proj(self.norm(x)).sigmoid() * self.q_proj(x))


class TinyGPT(nn.Module):
    """Dotted names, an embedding and a head that is tied to it."""

    def __init__(self, seed=0, tied=True):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.blocks = nn.ModuleList(Block(8) for _ in range(2))
        self.head = nn.Linear(8, 11, bias=False)
        fixed(self, seed)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def fixed(module, seed=0):
    """Give ``module`` parameters that depend on the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.4, generator=generator)
    return module


def filled(model, seed=1, std=0.3):
    """Give every adapter of a LoRAModel numbers that depend on the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for table in (model.adapters, model.saved_modules):
            for parameter in table.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    return model


def numbers(*shape, seed=2, dtype=torch.float32):
    """Random inputs from a seed of their own."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def pairs(count=3, size=8):
    """Batches for `mlp`: ``[(inputs, targets), …]``, the same numbers each time."""
    return [(numbers(size, 6, seed=10 + i), numbers(size, 4, seed=20 + i)) for i in range(count)]


def tokens(batch=3, seq=5, size=11, seed=2):
    """Random token numbers from a seed of their own."""
    return torch.randint(0, size, (batch, seq), generator=torch.Generator().manual_seed(seed))


def bits(module):
    """The state dict, copied; a merged LoRAModel's too, which its own state_dict() refuses."""
    return {key: value.detach().clone() for key, value in nn.Module.state_dict(module).items()}


def same_bits(left, right):
    """Whether two state dicts have the same keys in the same order, and the same bits."""
    return list(left) == list(right) and all(
        left[key].dtype == right[key].dtype and torch.equal(_raw(left[key]), _raw(right[key])) for key in left
    )


def _raw(tensor):
    return tensor.contiguous().flatten().view(torch.uint8) if tensor.numel() else tensor  # nan equals itself so


def picture(module):
    """All that must be as before when something was refused: bits, flags, modes, hooks and names."""
    seen = {
        "bits": bits(module),
        "flags": {name: p.requires_grad for name, p in module.named_parameters(remove_duplicate=False)},
        "identities": {name: id(p) for name, p in module.named_parameters(remove_duplicate=False)},
        "modes": {name: m.training for name, m in module.named_modules()},
        "attributes": {name: {k: repr(v) for k, v in _plain(m).items()} for name, m in module.named_modules()},
        "hooks": {name: _hooks(m) for name, m in module.named_modules()},
    }
    if isinstance(module, LoRAModel):
        seen |= {"names": module.adapter_names, "active": module.active_adapters, "merged": module.is_merged}
        seen |= {"scales": {n: _scale(m) for n, m in module.named_modules() if isinstance(m, LoRALayer)}}
    return seen


def _plain(module):
    return {key: value for key, value in vars(module).items() if isinstance(value, (int, float, str, bool, tuple))}


def _hooks(module):
    kinds = [kind for kind in vars(module) if kind.startswith(("_forward_", "_backward_"))]
    return {kind: list(vars(module)[kind].items()) for kind in kinds}


def _scale(layer):
    return torch.as_tensor(layer.scaling).item(), layer.alpha


def same_picture(left, right):
    """Whether two pictures agree, with the differing part named by the assertion."""
    assert same_bits(left["bits"], right["bits"]), "parameters or buffers changed"
    for part in left.keys() | right.keys():
        assert part == "bits" or left[part] == right[part], f"{part} changed"
    return True


class BadGradient(torch.autograd.Function):
    """A finite value with a gradient that is not."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * math.nan
