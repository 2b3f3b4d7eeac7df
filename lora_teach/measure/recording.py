"""What a forward keeps for the backward and how much it multiplies, recorded while it runs; tensors may be fake."""

from contextlib import contextmanager
from dataclasses import dataclass, field

from lora_teach.layers.build import is_adaptable
from lora_teach.measure.measured_memory import blocks_of, storage_id

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

aten = torch.ops.aten


@dataclass
class Part:
    """A stretch of the model: one block, which checkpointing can forget, or what lies before, between or after."""

    entry: int | None = None  # which tensor comes into a block; None where the part is no block
    times: int = 1
    kept: dict = field(default_factory=dict)  # which tensor -> its kind
    products: list = field(default_factory=list)  # (which product, how many to inputs, how many to weights)
    needed: int = 0  # how many of the products come before the last tensor that is kept: a recomputation does these


@dataclass
class Step:
    """What a step keeps and multiplies; ``amounts`` are bytes of tensors and FLOPs of products, by their numbers."""

    parts: list
    adapters: list  # (which tensor, times, whether it trains)
    amounts: list

    def moments(self, checkpointing=False):
        """Return a list of ``{kind: bytes}``: held as the backward comes to each block and, last, as it begins.

        With checkpointing a block keeps its input only, if it would keep anything, and is computed once more when the
        backward comes to it; by then the loss has let go of its own.
        """
        moments, held = [], {}  # held: which tensor -> (kind, times)
        for part in self.parts:
            kept = {tensor: (kind, part.times) for tensor, kind in part.kept.items()}
            if part.entry is None or not checkpointing:
                held = kept | held
            elif kept or part.needed:
                held = {part.entry: ("inputs of blocks", part.times)} | held
                moments.append({tensor: (kind, 1) for tensor, (kind, _) in kept.items()} | held)
        return [self._by_kind(moment) for moment in [*moments, held]]

    def _by_kind(self, held):
        kinds = {}
        for tensor, (kind, times) in held.items():
            kinds[kind] = kinds.get(kind, 0) + times * self.amounts[tensor]
        return kinds

    def flops(self):
        """Return FLOPs ``(forward, to_inputs, to_weights, recomputed)``."""
        total = [0, 0, 0, 0]
        for part in self.parts:
            for at, (product, to_inputs, to_weights) in enumerate(part.products):
                again = part.entry is not None and at < part.needed
                for which, count in enumerate((1, to_inputs, to_weights, again)):
                    total[which] += part.times * count * self.amounts[product]
        return total


class Recorder(TorchDispatchMode):
    """Records the parts of a forward: what autograd keeps, and the matrix products by torch's own formulas.

    The backward follows a product by one more of its size for each of its two sides that needs a gradient.
    """

    def __init__(self, model, base, repeats):
        super().__init__()
        self.base, self.repeats, self.blocks = base, repeats, blocks_of(base)
        self.layers = dict(model.lora_layers.items()) if model is not base else {}
        self.inside = {one for layer in self.layers.values() for one in layer.modules()}
        self.parameters = {storage_id(one) for one in [*model.parameters(), *model.buffers()]}
        self.casts = {}  # place -> storage, as long as this lives no other has its place; so it is below
        self.numbers = {}  # place -> (number, storage)
        self.parts, self.amounts, self.running = [Part()], [], []  # running: modules and what came in

    @contextmanager
    def watching(self):
        """Within the block a forward is recorded."""
        modules = {*self.base.modules(), *self.inside} - {self.base}
        handles = [module.register_forward_pre_hook(self._enter, with_kwargs=True) for module in modules]
        handles += [module.register_forward_hook(self._leave) for module in modules]
        try:
            with saved_tensors_hooks(self._keep, lambda kept: kept), self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def step(self):
        """Return the Step."""
        last = set(self.blocks[-1].modules()) if self.blocks else ()
        if self.repeats > 1:
            *_, gap, block, _ = self.parts
            gap.times = block.times = self.repeats
        adapters = [
            (self._number(tensor), self.repeats if self.base.get_submodule(path) in last else 1, tensor.requires_grad)
            for path, layer in self.layers.items()
            for tensor in (*layer.parameters(), *layer.buffers())
        ]
        return Step(self.parts, adapters, self.amounts)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made, kind = func(*args, **(kwargs or {})), func.overloadpacket
        if kind is aten._to_copy and storage_id(args[0]) in self.parameters:
            self.casts[storage_id(made)] = made.untyped_storage()
        elif kind is aten._scaled_dot_product_flash_attention_for_cpu:  # two products; torch has no formula for it
            q, k, v = args[:3]
            heads = [(*side.shape[:1], q.shape[1], *side.shape[2:]) for side in (k, v)]  # several q may share a k and v
            flops = sdpa_flop_count(q.shape, *heads) // 2
            self._multiply(flops, q.requires_grad + k.requires_grad)
            self._multiply(flops, (q.requires_grad or k.requires_grad) + v.requires_grad)
        elif kind in flop_registry:
            module, x = self.running[-1] if self.running else (None, None)
            sides = args[1:3] if kind in (aten.addmm, aten.baddbmm) else args[:2]
            sides = [storage_id(side) for side in sides if side.requires_grad and torch.is_grad_enabled()]
            weights = sum(side in self.parameters or side in self.casts for side in sides)
            to_inputs = len(sides) - weights
            if is_adaptable(module) and not torch.is_grad_enabled():  # in an autograd.Function, as of a quantised layer
                to_inputs = int(x.requires_grad)
            self._multiply(flop_registry[kind](*args, **(kwargs or {}), out_val=made), to_inputs, weights)
        return made

    def _multiply(self, flops, to_inputs, to_weights=0):
        self.parts[-1].products.append((len(self.amounts), to_inputs, to_weights))
        self.amounts.append(flops)

    def _number(self, tensor):
        if storage_id(tensor) not in self.numbers:
            self.numbers[storage_id(tensor)] = len(self.amounts), tensor.untyped_storage()
            self.amounts.append(tensor.untyped_storage().nbytes())
        return self.numbers[storage_id(tensor)][0]

    def _enter(self, module, args, kwargs):
        self.running.append((module, next(iter([*args, *kwargs.values()]), None)))
        if module in self.blocks:
            self.parts.append(Part(self._number(self.running[-1][1])))

    def _leave(self, module, args, output):
        self.running.pop()
        if module in self.blocks:
            self.parts.append(Part())

    def _keep(self, tensor):
        part = self.parts[-1]
        part.needed = len(part.products)
        if storage_id(tensor) not in self.parameters:
            part.kept[self._number(tensor)] = self._kind(tensor)

    def _kind(self, tensor):
        module, x = self.running[-1] if self.running else (None, None)
        if module is None:
            return "log-probabilities" if tensor.is_floating_point() and tensor.dim() > 1 else "tokens"
        if module in self.inside and storage_id(tensor) != storage_id(x):
            return "adapters"
        if module in self.inside or is_adaptable(module):
            return "inputs of linear layers"
        if not tensor.is_floating_point() and tensor.dtype != torch.bool:
            return "tokens"
        names = {"Norm": "norms", "Att": "attention", "Dropout": "dropout"}
        return next((kind for part, kind in names.items() if part in type(module).__name__), "activation functions")
