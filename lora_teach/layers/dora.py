"""DoRA: LoRA turns the weight's directions, and a vector of its own learns how long they are."""

from lora_teach.layer import LoRALayer, register_variant
from lora_teach.layers.build import known_forward
from lora_teach.layers.conv2d import LoRAConv2d
from lora_teach.layers.embedding import LoRAEmbedding
from lora_teach.layers.weight_based import Attached

import torch
import torch.nn.functional as F
from torch import nn


class DoRA(Attached):
    """What makes DoRA of a LoRALayer: to be mixed in before the layer of a kind of module.

    ``out_dim`` is the dimension of the output features in that module's weight.
    """

    label, mixes, out_dim = "DoRA", False, 0
    file_fields = {"use_dora": True}
    note = "ΔW turns the weights; how long their rows are, DoRA's magnitudes say."

    def __init_subclass__(cls):
        ends = (".lora_magnitude_vector", ".lora_magnitude_vector.weight")
        cls.file_keys = {**cls.file_keys, **dict.fromkeys(ends, "magnitude")}
        cls.filed = (*cls.filed, "magnitude")

    def __init__(self, *sizes, **options):
        super().__init__(*sizes, **options)
        self.magnitude = nn.Parameter(self.lora_B.new_ones(self.out_features))

    def check(self, module):
        """Raise ValueError for a forward of the module's own, or a convolution with groups."""
        if not known_forward(module):
            raise ValueError(
                f"{type(module).__name__} has a forward of its own, and DoRA turns the weight of a plain layer. "
                "Use variant='lora' there."
            )
        if getattr(module, "groups", 1) > 1:
            raise ValueError(
                f"its weight has groups={module.groups}, and the update reaches across the groups, so it can't be "
                "turned by it. Use variant='lora' there."
            )

    @torch.no_grad()
    def start(self):
        """Set the magnitude to the norms, so that the weight is only turned, and not yet at all."""
        self.magnitude.copy_(self._norms())

    def forward(self, x, base_output=None):
        """Return what the adapted weight gives beyond the base's, added to ``base_output`` if that is given."""
        dropping = self.training and self.dropout > 0 and x.is_floating_point()
        dropped = F.dropout(x, self.dropout) if dropping else x
        if x.is_nested or x.layout is not torch.strided:
            update = F.linear(dropped, self.delta_weight().to(x.dtype))  # (..., out_features)
            return update if base_output is None else base_output + update
        module, gain = self.module(), self._along_output(self.magnitude / self._norms())  # (out_features,)
        if base_output is None or dropping:
            straight = module.forward(dropped)  # of the input that the update sees; forward calls no hooks
        else:
            straight = base_output
        if getattr(module, "bias", None) is not None:
            straight = straight - self._along_output(module.bias)  # W x
        turned = super().forward(dropped)  # (..., out_features)
        update = (gain - 1).to(straight.dtype) * straight + gain.to(turned.dtype) * turned
        return update if base_output is None else base_output + update.to(base_output.dtype)

    forward.takes_base_output = True

    def drop(self, x):
        """Return ``x``: it was dropped before both products, the weight's and the update's."""
        return x

    def delta_weight(self):
        """Return what merging adds to the module's weight: the adapted weight minus W.

        W is the base's weight as it is now, so once it is merged this is no longer what was added.
        """
        weight = self.weight().to(self.lora_A.dtype)
        gain = self.magnitude / self._norms()  # (out_features,)
        return self._along_weight(gain, weight) * (weight + super().delta_weight()) - weight

    @torch.no_grad()
    def _norms(self):
        """Return ``‖W + ΔW‖`` of each output feature, ``(out_features,)``, outside the gradient graph."""
        turned = self.weight().to(self.lora_A.dtype) + super().delta_weight()
        others = [dim for dim in range(turned.dim()) if dim != self.out_dim]
        norms = torch.linalg.vector_norm(turned, dim=others)
        return norms.clamp_min(torch.finfo(turned.dtype).tiny)  # a row may be zero

    def _along_weight(self, vector, weight):
        return vector.view([-1 if dim == self.out_dim else 1 for dim in range(weight.dim())])

    def _along_output(self, vector):
        return vector[:, None, None] if self.kind == "Conv2d" else vector

    def file_parts(self):
        """Return A, B and the magnitude, which is ``(1, out_features, 1, 1)`` for a convolution."""
        vector = self.magnitude[None, :, None, None] if self.kind == "Conv2d" else self.magnitude
        return super().file_parts() | {"magnitude": vector}

    def is_zero(self):
        """Tell whether the update is zero: nothing is turned, and no row is longer or shorter."""
        return super().is_zero() and torch.equal(self.magnitude, self._norms())


@register_variant("dora")
class DoRALayer(DoRA, LoRALayer):
    """A low-rank update of a weight's directions, with a trainable magnitude for each output feature.

    The adapted weight is ``magnitude · (W + ΔW) / ‖W + ΔW‖``, where ``ΔW = scaling (A B)ᵀ`` and the norm is taken over
    each row of ``W (out_features, in_features)``: Liu et al. 2024 (arXiv 2402.09353), section 4, equation 5. The norm
    is a constant to the gradient, as their section 4.3 proposes.

    ``magnitude`` starts at the rows' norms, so a new layer changes no bit; if the model is moved to another dtype or
    device afterwards, the norms may round otherwise there, and the output with them. Half an adapted weight is not what
    half the strength would give, so DoRA is active alone: mixing it is an error.

    `DoRAEmbedding` and `DoRAConv2d` are the same beside an ``nn.Embedding``, where a norm is that of a column of the
    table, over all tokens, and beside an ``nn.Conv2d``, where it is that of an output channel's kernel; there
    ``groups`` are refused. Dropout falls on the input of both products, as in PEFT.

    Args:
        in_features, out_features, rank, alpha: As for LoRALayer, and so are the options.

    Attributes:
        magnitude: ``(out_features,)``, in PEFT's files ``lora_magnitude_vector``.

    Raises:
        RuntimeError: The layer is used before `attach`, which a LoRAModel calls.
    """


@register_variant("dora")
class DoRAEmbedding(DoRA, LoRAEmbedding):
    """DoRA beside an embedding: see DoRALayer; the arguments are those of LoRAEmbedding."""

    out_dim = 1


@register_variant("dora")
class DoRAConv2d(DoRA, LoRAConv2d):
    """DoRA beside a convolution: see DoRALayer; the arguments are those of LoRAConv2d."""
