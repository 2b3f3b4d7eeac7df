"""The LoRA layer: a low-rank update beside a frozen layer. Read this file first, then model.py and training.py."""

import math

from lora_teach.utils.validation import check_alpha, check_choice, check_count, check_dropout, check_rank
from lora_teach.utils.variants import VARIANTS, Asked, register_variant  # noqa: F401  VARIANTS is for others

import torch
import torch.nn.functional as F
from torch import nn

SCALINGS = {
    "alpha/r": lambda alpha, rank: alpha / rank,  # Hu et al. 2021, section 4.1
    "alpha/sqrt(r)": lambda alpha, rank: alpha / math.sqrt(rank),  # rsLoRA: Kalajdzievski 2023, arXiv 2312.03732
    "alpha": lambda alpha, rank: float(alpha),  # constant, independent of rank
}
INITS = ("uniform", "randn", "uniform_B")


@register_variant("lora")
class LoRALayer(Asked, nn.Module):
    """The trainable low-rank update that is added to a frozen layer's output.

    Computes ``scaling * (x A B)``, which is ``(alpha / r) B A x`` of Hu et al. 2021, section 4.1, in row vectors.
    ``lora_B`` starts at zero, so a new layer changes nothing.

    Args:
        in_features: Size of the frozen layer's input.
        out_features: Size of its output.
        rank: Inner size r of the update, ``1 <= rank <= min(in_features, out_features)``.
        alpha: Strength, dimensionless; ``None`` means ``rank``, which is a scaling of 1 under ``"alpha/r"``.
        scaling: How alpha becomes the factor: ``"alpha/r"`` (the paper), ``"alpha/sqrt(r)"`` (rsLoRA) or ``"alpha"``.
        learnable_scaling: Make ``scaling`` a Parameter of shape (1,) that starts at the rule's value.
        dropout: Probability in [0, 1) with which an input feature is dropped on its way into the update, in training.
        init: Start of ``lora_A``: ``"uniform"`` in ±1/√in_features, or ``"randn"`` (standard normal). ``"uniform_B"``
            draws ``lora_B`` in place of it, in ±1/√rank, and ``lora_A`` is zero (Hayou et al. 2024, arXiv 2406.08447).
        device: Where the parameters are made.
        dtype: Their dtype.

    Shapes:
        forward: ``(..., in_features) -> (..., out_features)``.
        lora_A: ``(in_features, rank)``. lora_B: ``(rank, out_features)``.

    Raises:
        TypeError: A size or rank that is not an integer, or an alpha or dropout that is not a number.
        ValueError: A value out of its range, or an unknown scaling or init; the message gives value, limit and cure.

    Differs from the paper:
        A is uniform in ±1/√in_features, as in the authors' code; the text says Gaussian.
    """

    def __init__(
        self,
        in_features,
        out_features,
        rank=4,
        alpha=None,
        *,
        scaling="alpha/r",
        learnable_scaling=False,
        dropout=0.0,
        init="uniform",
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.in_features = check_count("in_features", in_features)
        self.out_features = check_count("out_features", out_features)
        self.rank = check_rank(rank, f"{self.kind}({in_features} → {out_features})", min(in_features, out_features))
        self.scaling_rule = check_choice("scaling", scaling, SCALINGS)
        self.dropout = check_dropout(dropout)
        self.init = check_choice("init", init, INITS)
        self.alpha = self.rank if alpha is None else check_alpha(alpha)
        self.lora_A = nn.Parameter(torch.empty(in_features, rank, device=device, dtype=dtype))  # (in_features, rank)
        self.lora_B = nn.Parameter(torch.zeros(rank, out_features, device=device, dtype=dtype))  # (rank, out_features)
        self.scaling = SCALINGS[scaling](self.alpha, self.rank)
        if learnable_scaling:
            self.scaling = nn.Parameter(torch.full((1,), self.scaling, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self):
        """Draw one factor anew, as ``init`` says, and set the other to zero: the update is zero again."""
        drawn, zero = (self.lora_B, self.lora_A) if self.init == "uniform_B" else (self.lora_A, self.lora_B)
        if self.init == "randn":
            nn.init.normal_(drawn)
        else:
            # Not kaiming_uniform_: it takes fan_in from dimension 1, which is the rank in this orientation.
            bound = 1 / math.sqrt(len(drawn))
            nn.init.uniform_(drawn, -bound, bound)
        nn.init.zeros_(zero)

    def forward(self, x, base_output=None):
        """Return the update of ``x``, ``scaling * (x A B)``, added to ``base_output`` if that is given."""
        A, B = self.factors()
        A, B = A.to(x.dtype), B.to(x.dtype)  # float32 factors meet a bfloat16 input in bfloat16
        x = self.drop(x)  # (..., in_features)
        if x.dim() < 2 or x.is_nested or x.layout is not torch.strided:
            return _forward_unusual(x, A, B * self._scale(B), base_output)
        rows = x.flatten(0, -2)  # (batch · seq, in_features); once, which saves a twentieth of a small layer's step
        hidden = rows @ A * self._scale(A)  # (batch · seq, rank); scaled here, so that a scaling can be learned
        if base_output is None:
            return (hidden @ B).view(*x.shape[:-1], self.out_features)
        return _add_product(base_output, hidden, B)  # (..., out_features)

    forward.takes_base_output = True  # without this mark the hook calls forward(x)

    def delta_weight(self):
        """Return what merging adds to ``nn.Linear.weight``: ``scaling * (A B)ᵀ``, shape (out_features, in_features)."""
        A, B = self.factors()
        return (A @ B * self.scaling).T

    def set_alpha(self, alpha):
        """Set alpha, and the scaling that follows from it; a learnable scaling is set to that value and learns on."""
        self.alpha = check_alpha(alpha)
        value = SCALINGS[self.scaling_rule](self.alpha, self.rank)
        if isinstance(self.scaling, nn.Parameter):
            with torch.no_grad():
                self.scaling.fill_(value)
        else:
            self.scaling = value

    def factors(self):
        """Return what is multiplied: A ``(in_features, rank)`` and B ``(rank, out_features)``."""
        return self.lora_A, self.lora_B

    def drop(self, x):
        """Return the input with its dropout, in training."""
        return F.dropout(x, self.dropout, self.training)

    def _scale(self, like):
        return self.scaling.to(like.dtype) if isinstance(self.scaling, torch.Tensor) else self.scaling

    def extra_repr(self):
        """Tell sizes, rank and scaling where the layer is printed."""
        scale = "learnable" if isinstance(self.scaling, torch.Tensor) else f"{self.scaling:.4g}"
        text = f"in_features={self.in_features}, out_features={self.out_features}, rank={self.rank}, scaling={scale}"
        return text + (f", dropout={self.dropout}" if self.dropout else "")


def _add_product(base_output, hidden, B):
    """Return ``base_output + hidden B``, in one pass over the output where the dtypes allow it."""
    if base_output.dtype != hidden.dtype:
        return base_output + (hidden @ B).to(base_output.dtype).view_as(base_output)
    return torch.addmm(base_output.flatten(0, -2), hidden, B).view_as(base_output)


def _forward_unusual(x, A, B, base_output):
    """Return the update of one row, ``x (in_features,)``, or of a nested tensor."""
    update = F.linear(F.linear(x, A.T), B.T)  # (..., out_features)
    return update if base_output is None else base_output + update
