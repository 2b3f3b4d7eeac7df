"""DoRA: LoRA turns the weight's directions, and a vector of its own learns how long they are."""

from lora_teach.layer import LoRALayer, register_variant
from lora_teach.layers.build import is_conv1d, known_forward

import torch
import torch.nn.functional as F
from torch import nn


@register_variant("dora")
class DoRALayer(LoRALayer):
    """A low-rank update of a weight's directions, with a trainable magnitude for each output feature.

    The adapted weight is ``magnitude · (W + ΔW) / ‖W + ΔW‖``, where ``ΔW = scaling (A B)ᵀ`` and the norm is taken over
    each row of ``W (out_features, in_features)``: Liu et al. 2024 (arXiv 2402.09353), section 4, equation 5. The norm
    is a constant to the gradient, as their section 4.3 proposes.

    ``magnitude`` starts at the rows' norms, so a new layer changes no bit; if the model is moved to another dtype or
    device afterwards, the norms may round otherwise there, and the output with them. Half an adapted weight is not what
    half the strength would give, so DoRA is active alone: mixing it is an error.

    Args:
        in_features, out_features, rank, alpha: As for LoRALayer, and so are the options.

    Attributes:
        magnitude: ``(out_features,)``, in PEFT's files ``lora_magnitude_vector``.

    Raises:
        RuntimeError: The layer is used before `attach`, which a LoRAModel calls.
    """

    mixes = False
    _beside = ()

    def __init__(self, in_features, out_features, rank=4, alpha=None, **options):
        super().__init__(in_features, out_features, rank, alpha, **options)
        self.magnitude = nn.Parameter(self.lora_B.new_ones(out_features))

    def attach(self, module):
        """Stand beside ``module``, a linear layer: its weight is what is turned, and its norms are the magnitude.

        Raises:
            ValueError: A weight that is quantised, whose norms can't be read off it, or a forward of its own.
        """
        if not module.weight.is_floating_point() or module.weight.dtype.itemsize == 1:
            raise ValueError(
                f"its weight is quantised ({module.weight.dtype}), and DoRA needs the norms of its rows. "
                "Use variant='lora' there, or an unquantised base."
            )
        if not known_forward(module):
            raise ValueError(
                f"{type(module).__name__} has a forward of its own, and DoRA turns the weight of a plain linear layer. "
                "Use variant='lora' there."
            )
        self._beside = (module,)  # in a tuple, so that the base's parameters don't become this layer's
        with torch.no_grad():
            self.magnitude.copy_(self._norms())

    def reset_parameters(self):
        """Draw ``lora_A`` anew, set ``lora_B`` to zero and the magnitude to the norms: the update is zero again."""
        super().reset_parameters()
        if self._beside:
            self.attach(*self._beside)

    def forward(self, x, base_output=None):
        """Return what the adapted weight gives beyond the base's, added to ``base_output`` if that is given."""
        dropped = F.dropout(x, self.dropout, self.training)
        if x.is_nested or x.layout is not torch.strided:
            update = F.linear(dropped, self.delta_weight().to(x.dtype))  # (..., out_features)
            return update if base_output is None else base_output + update
        gain = self.magnitude / self._norms()  # (out_features,)
        if base_output is None or (self.training and self.dropout):
            straight = F.linear(dropped, self._weight().to(x.dtype))  # W x, of the input that the update sees
        else:
            straight = base_output if self._module().bias is None else base_output - self._module().bias
        A, B = self.lora_A.to(x.dtype), self.lora_B.to(x.dtype)
        turned = (dropped @ A * self._scale(A)) @ B  # (..., out_features)
        update = (gain - 1).to(straight.dtype) * straight + gain.to(turned.dtype) * turned
        return update if base_output is None else base_output + update.to(base_output.dtype)

    forward.takes_base_output = True

    def delta_weight(self):
        """Return what merging adds to ``nn.Linear.weight``: the adapted weight minus W, (out_features, in_features).

        W is the base's weight as it is now, so once it is merged this is no longer what was added.
        """
        weight = self._weight().to(self.lora_A.dtype)
        gain = self.magnitude / self._norms()  # (out_features,)
        return gain[:, None] * (weight + super().delta_weight()) - weight

    @torch.no_grad()
    def _norms(self):
        """Return ``‖W + ΔW‖`` of each row, ``(out_features,)``, outside the gradient graph."""
        turned = self._weight().to(self.lora_A.dtype) + super().delta_weight()  # (out_features, in_features)
        return torch.linalg.vector_norm(turned, dim=1).clamp_min(torch.finfo(turned.dtype).tiny)  # a row may be zero

    def _weight(self):
        weight = self._module().weight
        return weight.T if is_conv1d(self._module()) else weight  # (out_features, in_features)

    def _module(self):
        if not self._beside:
            raise RuntimeError(
                "this DoRALayer stands beside no layer yet, and turns that layer's weight. Call attach(linear) first."
            )
        return self._beside[0]
