"""A batch in which each row has its own adapter: what a LoRAModel adds to the outputs inside `rows`."""

from lora_teach.layer import LoRALayer
from lora_teach.layers.tokens import TrainedTokens
from lora_teach.overlay.adapter import check_known
from lora_teach.overlay.nested_modules import walk

import torch
import torch.nn.functional as F
from torch import nn


class Rows:
    """Which adapter each row of the batch has, while a ``rows`` block is open.

    Attributes:
        names: One adapter's name or None for each row.
        used: The adapters among them, each once.
    """

    def __init__(self, names, adapters, base):
        is_list = isinstance(names, list | tuple)
        if not is_list or not all(name is None or isinstance(name, str) for name in names):
            raise TypeError(f"rows({names!r}): use a list with one adapter's name, or None, for each row of the batch.")
        self.names = list(names)
        if not self.names:
            raise ValueError("rows([]) names no row. Use a list with one adapter's name, or None, for each row.")
        self.used = list(dict.fromkeys(name for name in self.names if name is not None))
        for name in self.used:
            check_known(name, adapters)
            saved = [path for path, one in walk(adapters[name].saved_modules) if not isinstance(one, TrainedTokens)]
            if saved:
                raise ValueError(
                    f"adapter {name!r} has its own {saved[0]!r}, which takes the "
                    "module's place for the whole batch. Call the model once for its rows, with set_adapter."
                )
        for path, module in base.named_modules():
            if isinstance(module, nn.MultiheadAttention | nn.RNNBase) and not module.batch_first:
                raise ValueError(
                    f"{path or 'the base'} has batch_first=False: its inputs are (seq, batch, …), so the first "
                    "dimension does not tell the rows. Use a base with batch_first=True."
                )
        self._indices = {}
        self.kept = {}  # path -> (what they were made of, each row's factors)

    def updates_at(self, path, *tables):
        """Return what is active at the module called ``path``, as LoRAModel.updates_for does, of its two tables."""
        found = ((name, [table[name].get(path) for table in tables]) for name in self.used)
        layers = {name: next((layer for layer in layers if layer is not None), None) for name, layers in found}
        layers = {name: layer for name, layer in layers.items() if layer is not None}
        return [(1, RowUpdate(self, path, layers))] if layers else []

    def index(self, chosen, device):
        """Return each row's place among the adapters ``chosen``, or behind the last, (rows,)."""
        key = (*chosen, device)
        if key not in self._indices:
            places = {name: place for place, name in enumerate(chosen)}
            self._indices[key] = torch.tensor([places.get(name, len(places)) for name in self.names], device=device)
        return self._indices[key]


class RowUpdate:
    """What stands in a LoRA layer's place at one module: each row's own update."""

    def __init__(self, rows, path, layers):
        self.rows, self.path, self.layers = rows, path, layers  # layers: {adapter name: layer}

    @property
    def training(self):
        """The mode of all the layers, or None where they differ."""
        modes = {layer.training for layer in self.layers.values()}
        return modes.pop() if len(modes) == 1 else None

    def train(self, mode):
        """Put all the layers into ``mode``."""
        for layer in self.layers.values():
            layer.train(mode)

    def forward(self, x, base_output):
        """Return ``base_output (rows, …, out_features)`` with each row's update of ``x (rows, …, in_features)``."""
        count = len(self.rows.names)
        if x.is_nested or x.layout is not torch.strided or not x.dim() or len(x) != count:
            shape = f"of shape {tuple(x.shape)}" if not x.is_nested else "that is nested"
            raise ValueError(
                f"rows() names {count} rows, and {self.path or 'the base'!r} was called with an input {shape}, whose "
                "first dimension is not these rows. Name each row of the batch; where generate works on several beams "
                "or sequences for a prompt, name each prompt that many times in succession."
            )
        index = self.rows.index(tuple(self.layers), x.device)  # (rows,)
        if x.dim() > 1 and all(_is_plain(layer) for layer in self.layers.values()):
            return _add_each(x, base_output, *self._factors(index, x.dtype))
        for place, layer in enumerate(self.layers.values()):
            at = (index == place).nonzero().squeeze(1)  # the rows of this adapter
            own = base_output[at]
            takes = getattr(layer.forward, "takes_base_output", False)
            own = layer(x[at], base_output=own) if takes else own + layer(x[at]).to(own.dtype)
            base_output = base_output.index_copy(0, at, own)
        return base_output

    forward.takes_base_output = True
    __call__ = forward

    def _factors(self, index, dtype):
        """Return `_side_by_side` of the layers; without gradients they are kept until a layer changes."""
        layers = list(self.layers.values())
        sources = [tensor for layer in layers for tensor in (layer.lora_A, layer.lora_B, layer.scaling)]
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or any(map(_of_inference, sources)):
            return _side_by_side(layers, index, dtype)
        state = [(id(one), one._version) if isinstance(one, torch.Tensor) else one for one in sources]
        kept = self.rows.kept.get(self.path)
        if kept is None or kept[:2] != (state, dtype):
            kept = state, dtype, sources, _side_by_side(layers, index, dtype)  # held, so that no id is given anew
            self.rows.kept[self.path] = kept
        return kept[3]


def _of_inference(source):
    return isinstance(source, torch.Tensor) and source.is_inference()  # such a tensor counts no versions


def _is_plain(layer):
    """Tell whether calling ``layer`` gives ``scaling * (x A B)``, no more."""
    own = type(layer).forward is not LoRALayer.forward or "forward" in vars(layer)
    hooked = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    return not own and not hooked and not (layer.dropout and layer.training)


def _add_each(x, base_output, A, B):
    """Return ``base_output (rows, …, out_features)`` with ``x A B`` of each row's own factors, in two products."""
    hidden = x.reshape(len(x), -1, x.shape[-1]) @ A  # (rows, …, rank)
    if base_output.dtype != hidden.dtype:
        return base_output + (hidden @ B).to(base_output.dtype).view_as(base_output)
    return torch.baddbmm(base_output.reshape(len(x), -1, B.shape[-1]), hidden, B).view_as(base_output)


def _side_by_side(layers, index, dtype):
    """Return each row's A ``(rows, in_features, rank)``, scaled, and B ``(rows, rank, out_features)``."""
    A, B = [layer.lora_A * layer.scaling for layer in layers], [layer.lora_B for layer in layers]
    rank = max(layer.rank for layer in layers)
    if any(layer.rank < rank for layer in layers):  # filled up with zeros
        A = [F.pad(factor, (0, rank - factor.shape[1])) for factor in A]
        B = [F.pad(factor, (0, 0, 0, rank - factor.shape[0])) for factor in B]
    return [torch.stack([*factors, torch.zeros_like(factors[0])]).to(dtype)[index] for factors in (A, B)]
