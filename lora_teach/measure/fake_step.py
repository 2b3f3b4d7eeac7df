"""A training step on fake tensors: what it keeps and what it multiplies, without a number being computed.

The model's own forward runs on tensors of PyTorch's FakeTensorMode, which have a shape, a dtype and no data. So any
architecture of any size can be predicted. Three short cuts make it quick:

    depth   where all blocks are alike the first three run, and each further one costs what the third did
    shape   a step runs for two batches, lengths and ranks. A tensor that is kept and a matrix product are proportional
            to a power of each of the three, and the two sizes tell which. Where they don't, that very shape is run
    memory  results are kept as long as Python runs
"""

import inspect
import math
import re
import types
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction

from lora_teach.bases.name_gpt import name_loss
from lora_teach.config import LoRAConfig
from lora_teach.layers.build import is_adaptable, sizes
from lora_teach.measure.measured_memory import blocks_of, loss_of, storage_id
from lora_teach.model import LoRAModel
from lora_teach.overlay.base import plain_copy
from lora_teach.overlay.targets import choose
from lora_teach.utils.validation import check_count

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

aten = torch.ops.aten
SMALL = (2, 5, 2)  # batch, length and rank of the first run
LENGTHS = [3**power for power in range(6, 0, -1)]  # how many times as long the second run may be
SETTINGS = bool | int | float | str | types.FunctionType
_known = {}  # settings -> what was run for them


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
    adapters: list  # (which tensor, times)
    amounts: list

    def moments(self, checkpointing=False):
        """Return a list of ``{kind: bytes}``: held as the backward comes to each block and, last, as it begins.

        With checkpointing a block keeps its input only, and is computed once more when the backward comes to it; by
        then the loss has let go of its own.
        """
        moments, held = [], {}  # held: which tensor -> (kind, times)
        for part in self.parts:
            kept = {tensor: (kind, part.times) for tensor, kind in part.kept.items()}
            if part.entry is None or not checkpointing:
                held = kept | held
            else:
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


def fake_step(
    model, batch_size, seq_len, *, rank=None, target_modules=None, variant="lora", dtype=None, padded=False, cache=True
):
    """Return the Step of one batch; the options are those of `predict_memory`.

    ``cache=False`` turns transformers' cache of keys and values off, as checkpointing does: it holds copies.
    """
    if isinstance(model, LoRAModel):
        raise TypeError("the model is a LoRAModel. Give its base, model.base_model, with rank and target_modules.")
    shape = check_count("batch_size", batch_size), check_count("seq_len", seq_len), 1 if rank is None else rank
    if rank is None and (target_modules is not None or variant != "lora"):
        given = f"variant={variant!r}" if target_modules is None else f"target_modules={target_modules!r}"
        raise ValueError(f"{given} without a rank: full fine-tuning adapts none. Give a rank.")
    positions = _positions(model)
    if seq_len > positions:
        raise ValueError(f"seq_len={seq_len} is longer than the model's {positions} positions.")
    if padded and "attention_mask" not in inspect.signature(model.forward).parameters:
        raise ValueError(
            f"padded=True: {type(model).__name__} takes no attention mask; its padding is ordinary tokens."
        )
    config = None if rank is None else LoRAConfig(rank=rank, target_modules=target_modules, variant=variant)
    adapted = {} if rank is None else choose(model, config).adapted
    settings = vars(model.config) if hasattr(model, "config") else {}
    options = (variant if rank else None, dtype, padded, cache and settings.get("use_cache"))
    key = (_signature(model), str(settings), *adapted, *options)
    if key not in _known:
        _known[key] = _Setting(model, adapted, positions, *options)
    return _known[key].step(shape)


def _positions(model):
    """How many tokens the model has learned positions for."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and ("position" in name.rpartition(".")[2] or name.endswith("wpe")):
            first = getattr(module, "offset", 0) if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - first
    return math.inf


def _signature(module, adapted=()):
    """What two modules that cost the same have in common: classes, settings, shapes, which layers are adapted."""
    return tuple(
        (type(one), one in adapted, *((p.shape, p.dtype) for p in one._parameters.values() if p is not None))
        + tuple((key, value) for key, value in vars(one).items() if isinstance(value, SETTINGS) and key != "layer_idx")
        for one in module.modules()
    )


class _Setting:
    """A fake copy of a model with fixed adapters, dtype and padding; its Step for each batch size, length and rank."""

    def __init__(self, model, adapted, positions, variant, dtype, padded, cache):
        self.variant, self.padded, self.cache, self.run, self.growth = variant, padded, cache, {}, None
        blocks = blocks_of(model)
        layers = set(adapted.values())
        short = len(blocks) > 3 and len({_signature(block, layers) for block in blocks}) == 1
        self.repeats = len(blocks) - 2 if short else 1  # of the last block that is run
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        with self.mode:
            self.base = _fake_copy(model, blocks[:3] if short else blocks, dtype)
        there = dict(self.base.named_modules())
        self.adapted = "|".join(re.escape(name) for name in adapted if name in there)
        fits = all(min(sizes(layer)) >= 2 * SMALL[2] for layer in layers)
        longer = next((times for times in LENGTHS if times * SMALL[1] <= positions), None)
        if longer and fits:
            self.longest, times = longer * SMALL[1], (5, longer, 2)
            small, large = (self._run(shape) for shape in (SMALL, [a * b for a, b in zip(SMALL, times, strict=True)]))
            if replace(small, amounts=[]) == replace(large, amounts=[]):
                growth = [_growth(*pair, times) for pair in zip(small.amounts, large.amounts, strict=True)]
                self.small, self.growth = small, None if None in growth else growth

    def step(self, shape):
        """Return the Step of ``(batch size, length, rank)``."""
        if self.growth and shape[1] <= self.longest:
            batch, seq, rank = shape
            return replace(self.small, amounts=[c * batch**i * seq**j * rank**k for c, i, j, k in self.growth])
        if shape not in self.run:
            self.run[shape] = self._run(shape)
        return self.run[shape]

    def _run(self, shape):
        batch, seq, rank = shape
        with self.mode:
            model = self.base
            if self.variant:
                model = LoRAModel(self.base, rank=rank, target_modules=self.adapted, variant=self.variant)
            tokens, targets, mask = (torch.zeros(batch, seq, dtype=torch.int64) for _ in range(3))
        inputs, loss_fn = (tokens, targets), name_loss
        if hasattr(self.base, "config"):
            inputs, loss_fn = {"input_ids": tokens, "labels": targets}, None
            inputs |= {"attention_mask": mask} if self.padded else {}
            inputs |= {} if self.cache else {"use_cache": False}
        try:
            # Outside the mode what is made of nothing, such as the numbers of the positions, is real: transformers
            # looks into these, and into an attention mask only if it is real.
            recorder = _Recorder(model, self.base, self.repeats)
            with recorder.watching():
                loss_of(model, inputs, loss_fn)
        except Exception as error:
            raise TypeError(
                f"{type(self.base).__name__} can't be run on fake tokens: {type(error).__name__}: {error}\n"
                "Measure a step instead: measure_memory(model, batch), count_flops(model, batch)."
            ) from error
        finally:
            if self.variant:
                model.remove()
        return recorder.step()


def _growth(small, large, times):
    """Return ``(c, i, j, k)``: the amount is c · batch^i · length^j · rank^k, whole numbers all; None if it is not."""
    powers, ratio = [], Fraction(large, small) if small else Fraction(1 + large)
    for time in times:
        powers.append(0)
        while ratio.numerator % time == 0:
            ratio /= time
            powers[-1] += 1
    share = math.prod(size**power for size, power in zip(SMALL, powers, strict=True))
    return (small // share, *powers) if ratio == 1 and small % share == 0 else None


def _fake_copy(model, blocks, dtype):
    """Return a copy on fake tensors, all of it trainable, with these of its blocks."""
    memo = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        trains = isinstance(tensor, nn.Parameter)
        fake = torch.empty(tensor.shape, dtype=dtype if dtype and trains else tensor.dtype, device="cpu")
        memo[id(tensor)] = nn.Parameter(fake, requires_grad=tensor.is_floating_point()) if trains else fake
    if len(blocks) < len(blocks_of(model)):
        memo[id(blocks_of(model))] = nn.ModuleList(plain_copy(block, memo) for block in blocks)
    return plain_copy(model, memo)


class _Recorder(TorchDispatchMode):
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
            (self._number(parameter), self.repeats if self.base.get_submodule(path) in last else 1)
            for path, layer in self.layers.items()
            for parameter in layer.parameters()
        ]
        return Step(self.parts, adapters, self.amounts)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made, kind = func(*args, **(kwargs or {})), func.overloadpacket
        if kind is aten._to_copy and storage_id(args[0]) in self.parameters:
            self.casts[storage_id(made)] = made.untyped_storage()
        elif kind is aten._scaled_dot_product_flash_attention_for_cpu:  # two products; torch has no formula for it
            q, k, v = args[:3]
            flops = sdpa_flop_count(q.shape, k.shape, v.shape) // 2
            self._multiply(flops, q.requires_grad + k.requires_grad)
            self._multiply(flops, (q.requires_grad or k.requires_grad) + v.requires_grad)
        elif kind in flop_registry:
            sides = args[1:3] if kind in (aten.addmm, aten.baddbmm) else args[:2]
            sides = [storage_id(side) for side in sides if side.requires_grad and torch.is_grad_enabled()]
            weights = sum(side in self.parameters or side in self.casts for side in sides)
            self._multiply(flop_registry[kind](*args, **(kwargs or {}), out_val=made), len(sides) - weights, weights)
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
