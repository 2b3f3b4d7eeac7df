"""A training step on fake tensors: what it keeps and what it multiplies, without a number being computed.

The model's own forward runs on tensors of PyTorch's FakeTensorMode, which have a shape, a dtype and no data. So any
architecture of any size can be predicted. Three short cuts make it quick:

    depth   where all blocks are alike the first three run, and each further one costs what the third did
    shape   two steps run, with other batch sizes, lengths and ranks. What is kept and what is multiplied goes by a
            power of each of the three, and the two amounts tell which. Where they don't, that very shape is run
    memory  results are kept as long as Python runs
"""

import inspect
import math
import re
import types
from dataclasses import replace
from fractions import Fraction

from lora_teach.bases.name_gpt import name_loss
from lora_teach.config import LoRAConfig
from lora_teach.layers.build import sizes
from lora_teach.loop.batches import loss_of
from lora_teach.measure.measured_memory import blocks_of
from lora_teach.measure.recording import Recorder
from lora_teach.model import LoRAModel
from lora_teach.overlay.base import plain_copy
from lora_teach.overlay.targets import choose
from lora_teach.utils.validation import check_count

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

SMALL = (2, 5, 2)  # batch size, length and rank of the first run
LENGTHS = [3**power for power in range(6, 0, -1)]  # how many times as long the second run may be
SETTINGS = bool | int | float | str | types.FunctionType
_known = {}  # settings -> what was run for them


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
    packed = next((name for name, p in model.named_parameters() if not p.is_floating_point()), None)
    if rank is None and packed is not None:
        raise ValueError(f"without a rank all weights train, and {packed} is quantised, so it can't. Give a rank.")
    foreign = next((p for p in model.parameters() if type(p) is not nn.Parameter), None)
    if foreign is not None:
        kind = type(foreign)
        raise TypeError(
            f"{type(model).__name__} has weights in {kind.__name__} of {kind.__module__}, which can't be run without "
            "data. Give the model from before quantising, and lora_teach.bases.quantized.quantize_ over it; or measure "
            "a step: measure_memory(model, batch), count_flops(model, batch)."
        )
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
    dtype = None if {p.dtype for p in model.parameters() if p.is_floating_point()} == {dtype} else dtype
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
    numbers = {}
    return tuple(
        (type(one), one in adapted)
        + tuple(
            (numbers.setdefault(id(p), len(numbers)), p.shape, p.dtype)  # the number tells tied weights
            for p in [*one._parameters.values(), *one._buffers.values()]
            if p is not None
        )
        + tuple((key, value) for key, value in vars(one).items() if isinstance(value, SETTINGS) and key != "layer_idx")
        for one in module.modules()
    )


def _alike(blocks, adapted):
    return len({_signature(block, adapted) for block in blocks}) == 1


class _Setting:
    """A fake copy of a model with fixed adapters, dtype and padding; its Step for each batch size, length and rank."""

    def __init__(self, model, adapted, positions, variant, dtype, padded, cache):
        self.variant, self.padded, self.cache, self.run, self.growth = variant, padded, cache, {}, None
        blocks = blocks_of(model)
        layers = set(adapted.values())
        short = len(blocks) > 3 and _alike(blocks, layers)
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
            recorder = Recorder(model, self.base, self.repeats)
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
        cast = dtype and trains and tensor.is_floating_point()  # packed weights stay what they are
        fake = torch.empty(tensor.shape, dtype=dtype if cast else tensor.dtype, device="cpu")
        memo[id(tensor)] = nn.Parameter(fake, requires_grad=tensor.is_floating_point()) if trains else fake
    if len(blocks) < len(blocks_of(model)):
        memo[id(blocks_of(model))] = nn.ModuleList(plain_copy(block, memo) for block in blocks)
    return plain_copy(model, memo)
