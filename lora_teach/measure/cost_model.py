"""A training step on fake tensors: what it keeps and what it multiplies, without a number being computed.

PyTorch's FakeTensorMode runs a model's own forward and backward on tensors that have a shape, a dtype and no data. So
any architecture of any size can be predicted. Three short cuts make it quick; none changes a result:

    depth   where all blocks are alike, models of 2 and 3 blocks are run: each further block costs what the third did
    shape   costs are polynomials in batch size B and length S, sums of 1, S, S², B, BS and BS². After three shapes they
            are fitted, and used between the shapes that were run, if they reproduce these to the byte
    memory  results are kept as long as the model lives
"""

import copy
import inspect
import sys
import weakref
from collections import Counter
from contextlib import ExitStack
from fractions import Fraction
from math import prod
from unittest.mock import patch

from lora_teach.bases.name_gpt import name_loss
from lora_teach.config import LoRAConfig
from lora_teach.layers.build import is_adaptable
from lora_teach.measure.measured_memory import Saved, _place, blocks_of, checkpointed, loss_of
from lora_teach.model import LoRAModel
from lora_teach.overlay.targets import choose
from lora_teach.utils.validation import check_count

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

DIRECT = 3  # shapes that are run before the polynomials are fitted
BATCHES, LENGTHS = (2, 3), (6, 9, 14)  # where they are fitted
PACKED = "transformers.masking_utils.find_packed_sequence_indices"
_results = weakref.WeakKeyDictionary()  # model -> {settings: _Shapes}


def step_costs(model, batch_size, seq_len, *, rank=None, target_modules=None, dtype=None, padded=False, **how):
    """Return ``(costs, adapted layers)`` of a training step.

    Costs are ``{(moment, kind of tensor): bytes}``, kept at the "end of forward" and, with ``checkpointing=True``, when
    most is held in the "backward"; or, with ``flops=True``, the FLOPs that `flops.Flops` has, ``{its field: FLOPs}``.
    """
    if isinstance(model, LoRAModel):
        raise TypeError("the model is a LoRAModel. Give its base, model.base_model, with rank and target_modules.")
    shape = check_count("batch_size", batch_size), check_count("seq_len", seq_len)
    if rank is None and target_modules is not None:
        raise ValueError(
            f"target_modules={target_modules!r} without a rank: full fine-tuning adapts none. Give a rank."
        )
    _check_length(model, seq_len)
    if padded and "attention_mask" not in inspect.signature(model.forward).parameters:
        raise ValueError(f"padded=True: {type(model).__name__} takes no attention mask.")
    config = None if rank is None else LoRAConfig(rank=rank, target_modules=target_modules)
    adapted = {} if config is None else choose(model, config).adapted
    settings = getattr(model, "config", None)
    state = [p.dtype for p in model.parameters()], settings and vars(settings)
    key = str((model.training, state, rank, list(adapted), dtype, padded, how))
    known = _results.setdefault(model, {})
    if key not in known:
        known[key] = _Shapes(getattr(settings, "sliding_window", None) is None)
    return known[key].costs(shape, _Runner(model, config, adapted, dtype, padded, **how)), adapted


def _check_length(model, seq_len):
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and ("position" in name.rpartition(".")[2] or name.endswith("wpe")):
            first = getattr(module, "offset", 0) if module.padding_idx is None else module.padding_idx + 1
            if seq_len > module.num_embeddings - first:
                raise ValueError(
                    f"seq_len={seq_len} is longer than the model's {module.num_embeddings - first} positions."
                )


class _Shapes:
    """The costs of one setting by shape: run for some, from polynomials between these where they hold."""

    def __init__(self, smooth):
        self.run, self.fitted, self.smooth = {}, {}, smooth  # the first two: {(batch size, length): costs}

    def costs(self, shape, run):
        if shape not in self.run:
            batches, lengths = (sorted(sizes) for sizes in zip(*self.run, strict=True)) if self.run else ((), ())
            if self.smooth and len(self.run) >= DIRECT and shape[0] >= batches[0]:
                if not self.fitted:
                    self.fitted = {(batch, length): run(batch, length) for batch in BATCHES for length in LENGTHS}
                if lengths[0] <= shape[1] <= lengths[-1] or shape[1] in LENGTHS:
                    self.smooth = all(self._between(one) == costs for one, costs in self.run.items())
                    if self.smooth:
                        return self._between(shape)
            self.run[shape] = run(*shape)
        return self.run[shape]

    def _between(self, shape):
        """The polynomials' values (Lagrange's form: exact)."""
        total = Counter()
        for (batch, length), costs in self.fitted.items():
            weight = _lagrange(batch, BATCHES, shape[0]) * _lagrange(length, LENGTHS, shape[1])
            for what, amount in costs.items():
                total[what] += weight * amount
        return {what: int(amount) for what, amount in total.items()}


def _lagrange(at, places, x):
    return prod(Fraction(x - other, at - other) for other in places if other != at)


class _Runner:
    """Runs a step of ``model`` on fake tensors: ``(batch size, length) -> costs``, of all blocks or from 2 and 3."""

    def __init__(self, model, config, adapted, dtype, padded, checkpointing=False, flops=False):
        self.model, self.config, self.dtype, self.padded = model, config, dtype, padded
        self.checkpointing, self.flops, self.ready = checkpointing, flops, {}
        self.blocks = blocks_of(model)
        names = {id(module) for module in adapted.values()}
        alike = len({_signature(block, names) for block in self.blocks}) == 1
        self.short = alike and len(self.blocks) > 3

    def __call__(self, batch_size, seq_len):
        if self.short:
            two, three = (self._run(depth, batch_size, seq_len) for depth in (2, 3))
            more = len(self.blocks) - 3
            return {what: three[what] + more * (three[what] - two.get(what, 0)) for what in three}
        return self._run(None, batch_size, seq_len)

    def _run(self, depth, batch_size, seq_len):
        with ExitStack() as stack:
            if PACKED.rpartition(".")[0] in sys.modules:  # it looks for packed sequences in values, which are not here
                stack.enter_context(patch(PACKED, lambda position_ids: None))
            stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
            if depth not in self.ready:
                self.ready[depth] = _shadow(self.model, self.blocks, depth, self.dtype)
                if self.config is not None:
                    self.ready[depth] = LoRAModel(self.ready[depth], self.config)
            model = self.ready[depth]
            for parameter in model.parameters():
                parameter.grad = None
            try:
                run = _multiplied if self.flops else _kept
                return run(model, *_batch(self.model, batch_size, seq_len, self.padded), self.checkpointing)
            except Exception as error:
                raise TypeError(
                    f"{type(model).__name__} can't be run on fake tokens: {type(error).__name__}: {error}\n"
                    "Measure a step instead: measure_memory(model, batch), count_flops(model, batch)."
                ) from error


def _signature(block, adapted):
    """What two blocks that cost the same have in common: classes, settings, shapes, which layers are adapted."""
    return str([
        (name, type(module), id(module) in adapted, [p.shape for p in module.parameters(recurse=False)])
        + tuple((key, value) for key, value in vars(module).items()
                if isinstance(value, bool | int | float | str) and key != "layer_idx")
        for name, module in block.named_modules()
    ])  # fmt: skip


def _shadow(model, blocks, depth, dtype):
    """Return a copy on fake tensors, all of it trainable, with the first ``depth`` of its blocks."""
    memo = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        trains = isinstance(tensor, nn.Parameter)
        kind = dtype if dtype and trains else tensor.dtype
        fake = torch.empty(tensor.shape, dtype=kind, device="cpu")
        memo[id(tensor)] = nn.Parameter(fake, requires_grad=tensor.is_floating_point()) if trains else fake
    if depth is not None:
        memo[id(blocks)] = nn.ModuleList(copy.deepcopy(block, memo) for block in blocks[:depth])
    made = copy.deepcopy(model, memo)
    if depth is not None and hasattr(getattr(made, "config", None), "num_hidden_layers"):
        made.config.num_hidden_layers = depth
    return made


def _batch(model, batch_size, seq_len, padded):
    """Return ``(batch, loss_fn)`` of fake tokens, as `measure_memory` takes them."""
    tokens, targets = (torch.zeros(batch_size, seq_len, dtype=torch.int64, device="cpu") for _ in range(2))
    if not hasattr(model, "config"):
        return (tokens, targets), name_loss
    mask = {"attention_mask": torch.ones_like(tokens)} if padded else {}
    return {"input_ids": tokens, "labels": targets} | mask, None


# What is kept.


def _kept(model, batch, loss_fn, checkpointing):
    kinds = _Kinds(model, checkpointing)
    with kinds, ExitStack() as stack:
        if checkpointing:
            stack.enter_context(checkpointed(model, reentrant=True))
        stack.enter_context(kinds.watching())
        loss = loss_of(model, batch, loss_fn)
        found = {("end of forward", kind): size for kind, size in kinds.sizes.items() if size}
        if checkpointing:
            kinds.peak = 0
            loss.backward()
            found |= {("backward", kind): size for kind, size in kinds.largest.items() if size}
    return found


class _Kinds(Saved):
    """`Saved` that also tells which module keeps a tensor, and so which kind of tensor it is."""

    def __init__(self, model, checkpointing):
        super().__init__([*model.parameters(), *model.buffers()])
        self.kinds, self.of = {}, {}  # kind and bytes of each storage
        self.sizes, self.largest = Counter(), {}  # bytes of each kind: now, and when most was held
        self.at, self.handles = [], []  # the modules that are running, with their inputs
        self.model = model.base_model if isinstance(model, LoRAModel) else model  # transformers has a base_model too
        self.blocks = set(blocks_of(model)) if checkpointing else ()
        self.layers = set(getattr(model, "adapters", nn.Module()).modules())

    def __enter__(self):
        for module in {*self.model.modules(), *self.layers} - {self.model}:
            self.handles += [
                module.register_forward_pre_hook(lambda module, args: self.at.append((module, args))),
                module.register_forward_hook(lambda *_: self.at.pop() and None, always_call=True),
            ]

    def __exit__(self, *error):
        for handle in self.handles:
            handle.remove()

    def take(self, tensor):
        super().take(tensor)
        place = _place(tensor)
        kind = self.kinds.get(place)
        if (
            place not in self.besides and self.holders[place] > 1 and kind != "inputs of blocks"
        ):  # the last one names it
            self.changed(place, -self.of[place], tensor)
            self.changed(place, self.of[place], tensor)

    def changed(self, place, size, tensor):
        if size > 0:
            self.kinds[place], self.of[place] = self._kind(tensor), size
        self.sizes[self.kinds[place]] += size
        if self.now >= self.peak:
            self.largest = dict(self.sizes)

    def _kind(self, tensor):
        module, inputs = self.at[-1] if self.at else (None, ())
        if module is None:
            return "log-probabilities" if tensor.is_floating_point() and tensor.dim() > 1 else "tokens"
        if module in self.blocks:
            return "inputs of blocks"
        if module in self.layers and inputs[0].numel() != tensor.numel():
            return "adapters"
        if module in self.layers or is_adaptable(module):
            return "inputs of linear layers"
        if not tensor.is_floating_point() and tensor.dtype != torch.bool:
            return "tokens"
        kinds = {"Norm": "norms", "Att": "attention", "Dropout": "dropout"}
        return next((kind for part, kind in kinds.items() if part in type(module).__name__), "activation functions")


# What is multiplied.


def _multiplied(model, batch, loss_fn, checkpointing):
    with sdpa_kernel(SDPBackend.MATH):  # the products of which a fused attention consists
        weights = {_place(parameter): parameter for parameter in model.parameters()}
        with _Products(weights) as forward:
            loss = loss_of(model, batch, loss_fn)
        with _Products(weights) as backward:
            loss.backward()
        to_inputs = backward.total - backward.to_weights
        found = {"forward": forward.total, "to_inputs": to_inputs, "to_weights": backward.to_weights, "recomputed": 0}
        if checkpointing:
            with checkpointed(model):
                loss = loss_of(model, batch, loss_fn)
                with _Products(weights) as again:
                    loss.backward()
            found["recomputed"] = again.total - backward.total
    return found


class _Products(TorchDispatchMode):
    """Counts FLOPs by torch's own formulas; those of plain products without a parameter make a weight's gradient."""

    def __init__(self, weights):
        super().__init__()
        self.total, self.to_weights, self.weights = 0, 0, weights

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        operator = func.overloadpacket
        tensors = [one for one in args if isinstance(one, torch.Tensor)]
        with_weight = any(_place(one) in self.weights for one in tensors)
        if operator is torch.ops.aten._to_copy and with_weight:
            self.weights[_place(made)] = made  # A and B in another dtype
        if operator in flop_registry:
            flops = flop_registry[operator](*args, **(kwargs or {}), out_val=made)
            self.total += flops
            if operator is not torch.ops.aten.bmm and not with_weight:
                self.to_weights += flops
        return made
