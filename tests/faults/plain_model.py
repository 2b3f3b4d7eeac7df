"""What a LoRAModel should be, in plain terms: the base's own numbers, each adapter's numbers, and what is active.

The output that is expected is worked out in float64 by the base with other weights, which follow from the papers'
formulas, without the library's layers.
"""

from dataclasses import dataclass

from lora_teach.layers.tokens import TrainedTokens
from lora_teach.overlay.nested_modules import walk
from tests.toy import TinyGPT, fixed, mlp, numbers, tokens

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

PARTS = ("lora_A", "lora_B", "magnitude", "start_A", "start_B")
SCALES = {
    "alpha/r": lambda alpha, rank: alpha / rank,
    "alpha/sqrt(r)": lambda alpha, rank: alpha / rank**0.5,
    "alpha": lambda alpha, rank: float(alpha),
}


def conv_net():
    layers = [nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5)]
    return fixed(nn.Sequential(*layers))


def conv1d_net():
    return fixed(nn.Sequential(Conv1D(8, 6), nn.GELU(), Conv1D(4, 8)))


# name -> (how it is made, its inputs, what is adapted, what is saved whole)
ARCHITECTURES = {
    "mlp": (mlp, lambda: numbers(4, 6), [None, ["0"], ["2"]], "2"),
    "convolution": (conv_net, lambda: numbers(4, 2, 3, 3), [["0"], ["0", "4"], ["4"]], "1"),
    "Conv1D": (conv1d_net, lambda: numbers(4, 6), [None, ["0"]], "2"),
    "GPT": (lambda: TinyGPT(tied=False), lambda: tokens(4), [None, ["q_proj"], ["embedding", "v_proj"]], "head"),
    "tied GPT": (TinyGPT, lambda: tokens(4), [["q_proj", "v_proj"], ["blocks.1.v_proj"], None], "head"),
}


@dataclass
class Numbers:
    """One adapter as it should be.

    Attributes:
        layers: ``{module name: {part of the layer: tensor}}``, with the scaling among them, float64.
        copies: ``{module name: state dict}`` of the modules that it saves whole.
        rows: ``{module name: (tokens, their rows)}``.
        rules: ``{module name: (scaling rule, rank, whether the scaling is learned)}``.
        variants: The variants of its layers.
    """

    layers: dict
    copies: dict
    rows: dict
    rules: dict
    variants: set

    @classmethod
    def of(cls, model, name):
        """Read them off a LoRAModel, once the adapter was made, filled, trained or loaded."""
        one = cls({}, {}, {}, {}, set())
        for path, layer in walk(model.adapters[name]):
            one.layers[path] = {part: getattr(layer, part).detach().clone() for part in PARTS if hasattr(layer, part)}
            one.layers[path]["scaling"] = (
                torch.as_tensor(layer.scaling, dtype=torch.float64).detach().reshape(()).clone()
            )
            one.rules[path] = layer.scaling_rule, layer.rank, isinstance(layer.scaling, nn.Parameter)
            one.variants.add(layer.variant)
        for path, saved in walk(model.saved_modules[name]):
            if isinstance(saved, TrainedTokens):
                one.rows[path] = saved.indices.clone(), saved.rows.detach().clone()
            else:
                one.copies[path] = {key: value.detach().clone() for key, value in saved.state_dict().items()}
        return one

    @property
    def active_alone(self):
        """Whether it can't be mixed."""
        return bool(self.copies or self.rows or "dora" in self.variants)

    def same(self, other):
        """Whether both are equal to the last bit, in the same dtypes."""
        left, right = dict(self._named()), dict(other._named())
        return list(left) == list(right) and all(
            left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]) for name in left
        )

    def _named(self):
        for table in (self.layers, self.copies):
            yield from ((f"{path}.{key}", one) for path, parts in table.items() for key, one in parts.items())
        yield from ((f"{path}[{place}]", one) for path, pair in self.rows.items() for place, one in enumerate(pair))

    def set_alpha(self, alpha):
        """Change the scaling of every layer by its own rule."""
        for path, (rule, rank, learned) in self.rules.items():
            scale = torch.tensor(SCALES[rule](alpha, rank), dtype=torch.float64)
            self.layers[path]["scaling"] = scale.to(self.layers[path]["lora_A"].dtype).double() if learned else scale


@torch.no_grad()
def adapted(plain, active):
    """Return ``{name: tensor}`` of what ``active``, ``[(weight, Numbers), …]``, changes in a float64 base."""
    modules, state = dict(plain.named_modules()), {}
    for factor, one in active:
        for path, copied in one.copies.items():
            state |= {f"{path}.{key}": value.double() for key, value in copied.items() if value.is_floating_point()}
        for path, parts in one.layers.items():
            module, key = modules[path], f"{path}.weight"
            update = _update(parts, module.weight, isinstance(module, nn.Embedding | Conv1D))
            state[key] = state.get(key, module.weight) + factor * update
        for path, (places, rows) in one.rows.items():
            key = f"{path}.weight"
            state[key] = state.get(key, modules[path].weight).index_copy(0, places, rows.double())
    return state


@torch.no_grad()
def expected(plain, active, inputs):
    """Return the output of the float64 base ``plain`` with the numbers of ``active``."""
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    # Not tied: a head that is tied to an embedding keeps the base's weight.
    return torch.func.functional_call(plain, adapted(plain, active), (inputs,), tie_weights=False)


def _update(parts, weight, in_first):
    """Return what one layer adds to ``weight``, in its orientation; ``in_first`` if that is (in, out)."""
    A, B, scaling = (parts[name].double() for name in ("lora_A", "lora_B", "scaling"))
    delta = A @ B  # (in_features, out_features)
    if "start_A" in parts:  # PiSSA: Meng et al. 2024, which trains the difference to what it started from
        delta = delta - parts["start_A"].double() @ parts["start_B"].double()
    delta = scaling * (delta if in_first else delta.T).reshape(weight.shape)
    if "magnitude" not in parts:
        return delta
    out = 1 if in_first else 0  # DoRA: Liu et al. 2024, equation 5
    turned = weight + delta
    norms = torch.linalg.vector_norm(turned, dim=[dim for dim in range(turned.dim()) if dim != out])
    shape = [-1 if dim == out else 1 for dim in range(turned.dim())]
    return (parts["magnitude"].double() / norms).view(shape) * turned - weight
