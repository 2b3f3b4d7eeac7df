"""One look at adapters of three origins: our LoRAModel's, PEFT's, and modules by hand with lora_A and lora_B."""

from dataclasses import dataclass

from lora_teach.model import LoRAModel
from lora_teach.overlay.nested_modules import walk

import torch
from torch import nn


@dataclass(frozen=True, eq=False)
class Factors:
    """The two factors of one adapter at one module.

    Attributes:
        name: Dotted name of the adapted module.
        adapter: Name of the adapter; "" for a module by hand.
        A, B: Its factors, each a tensor of any orientation.
        rank: Their inner size.
        inputs: Size of the adapted layer's input.
        scale: Factor before their product, with the adapter's weight in a mixture.
        active: Whether the adapter is in use.
        merged: Whether it is folded into the weight.
        host: Module whose call is the adapter's use.
        base: The adapted module, or None if it can't be told.
        origin: "ours", "peft" or "hand".
        dense: Whether it stands beside a linear layer: A is then drawn at random, and B is zero.
        given: Whether a start of A and B was asked for by name, such as "pissa", or PEFT's "gaussian".
    """

    name: str
    adapter: str
    A: torch.Tensor
    B: torch.Tensor
    rank: int
    inputs: int
    scale: float
    active: bool
    merged: bool
    host: nn.Module
    base: nn.Module
    origin: str
    dense: bool = True
    given: bool = False

    @property
    def zero(self):
        """Whether the update is zero, as it is at the start."""
        asked = getattr(self.host, "is_zero", None) if self.origin == "ours" else None
        return asked() if callable(asked) else not (self.A.any() and self.B.any())

    @property
    def place(self):
        """Where it is, in words."""
        return self.name + self._whose

    def called(self, factor):
        """Return the name of the factor "A" or "B"."""
        return f"{self.name}.lora_{factor}{self._whose}"

    @property
    def _whose(self):
        return "" if self.adapter in ("", "default") else f" ({self.adapter})"

    @property
    def trains(self):
        """Whether one of the factors requires a gradient."""
        return self.A.requires_grad or self.B.requires_grad


def overlay_of(model):
    """Return the LoRAModel in ``model``, which may be wrapped (DDP, torch.compile), or None."""
    return next((module for module in model.modules() if isinstance(module, LoRAModel)), None)


def find_adapters(model):
    """List the `Factors` of ``model``."""
    overlay = overlay_of(model)
    configs = next((m.peft_config for m in model.modules() if isinstance(getattr(m, "peft_config", None), dict)), {})
    found = [] if overlay is None else list(_ours(overlay))
    inside = set() if overlay is None else {id(m) for m in overlay.adapters.modules()}
    for name, module in model.named_modules():
        if id(module) not in inside and hasattr(module, "lora_A") and hasattr(module, "lora_B"):
            peft = isinstance(module.lora_A, nn.ModuleDict)
            found += _pefts(name, module, configs) if peft else _by_hand(name, module)
    return found


def _ours(model):
    for adapter in model.adapter_names:
        weight = model.active_adapters.get(adapter)
        for path, layer in walk(model.adapters[adapter]):
            A, B = getattr(layer, "lora_A", None), getattr(layer, "lora_B", None)
            if not isinstance(A, torch.Tensor) or not isinstance(B, torch.Tensor):
                continue  # a layer of the learner's own
            scale = _number(getattr(layer, "scaling", 1.0)) * (1.0 if weight is None else weight)
            try:
                base = model.base_model.get_submodule(path)
            except AttributeError:  # taken out of the base under the overlay
                base = None
            yield Factors(
                path, adapter, A, B, getattr(layer, "rank", A.shape[-1]), getattr(layer, "in_features", A.shape[0]),
                scale, weight is not None, model.is_merged and weight is not None, layer, base, "ours",
                getattr(layer, "kind", "Linear") == "Linear",
                getattr(layer, "init", "uniform") not in ("uniform", "randn"),
            )  # fmt: skip


def _pefts(name, module, configs):
    for adapter in [*module.lora_A, *getattr(module, "lora_embedding_A", {})]:
        dense = adapter in module.lora_A
        if dense:
            A, B = module.lora_A[adapter].weight, module.lora_B[adapter].weight  # (r, in), (out, r)
        else:
            A, B = module.lora_embedding_A[adapter], module.lora_embedding_B[adapter]  # (r, in), (out, r)
        active = adapter in module.active_adapters and not module.disable_adapters
        scale = _number(module.scaling[adapter])
        start = getattr(configs.get(adapter), "init_lora_weights", True)
        yield Factors(
            name.removeprefix("base_model.model."), adapter, A, B, module.r[adapter], A.shape[1], scale, active,
            adapter in module.merged_adapters, module, module.get_base_layer(), "peft", dense and A.dim() == 2,
            isinstance(start, str),
        )  # fmt: skip


def _by_hand(name, module):
    A, B = (getattr(factor, "weight", factor) for factor in (module.lora_A, module.lora_B))
    if not isinstance(A, torch.Tensor) or not isinstance(B, torch.Tensor) or min(A.dim(), B.dim()) < 2:
        return
    as_x_a_b = A.shape[-1] == B.shape[0] and (A.shape[0] != B.shape[-1] or A.shape[-1] <= A.shape[0])
    if isinstance(module.lora_A, nn.Linear) or not as_x_a_b:
        rank, inputs = A.shape[0], A.shape[1]  # B A x: A is (r, in), B is (out, r)
    else:
        rank, inputs = A.shape[-1], A.shape[0]  # A is (in, r), B is (r, out)
    beside = [m for m in module.children() if m not in (module.lora_A, module.lora_B) and hasattr(m, "weight")]
    base = module if hasattr(module, "weight") else beside[0] if beside else None
    scale = getattr(module, "scaling", getattr(module, "scale", None))
    if scale is None:
        alpha = getattr(module, "alpha", getattr(module, "lora_alpha", None))
        scale = 1.0 if alpha is None else _number(alpha) / rank
    yield Factors(
        name or "the module itself", "", A, B, rank, inputs, _number(scale), True,
        getattr(module, "merged", False) is True, module, base, "hand", A.dim() == 2,
    )  # fmt: skip


def _number(value):
    return value.detach().double().mean().item() if isinstance(value, torch.Tensor) else float(value)
