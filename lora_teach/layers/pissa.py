"""PiSSA: A and B start as the principal part of the weight, and what they started as is subtracted again."""

from dataclasses import replace

from lora_teach.layer import SCALINGS, LoRALayer, register_variant
from lora_teach.layers.weight_based import Attached
from lora_teach.utils.processes import whole

import torch


@register_variant("pissa")
class PiSSALayer(Attached, LoRALayer):
    """A low-rank update that starts at the weight's r largest singular directions.

    Meng, Wang and Zhang 2024 (arXiv 2404.02948), section 3: with ``W = U S Vᵀ`` the product ``scaling · B A`` starts as
    the best rank-r approximation of W, and the frozen rest is W without it. Here the base stays as it is, and the layer
    subtracts what A and B started as: ``scaling · (x A B − x A₀ B₀)``, in one product of twice the rank. So the output
    at the start is the base's up to rounding, and switching off, mixing and merging are as for plain LoRA.

    ``LoRAConfig(init="pissa")`` means the same as ``variant="pissa"``; another ``init`` is an error.

    A file holds plain LoRA of rank 2r over the original base: A' = [A; A₀], B' = [B, −B₀], which is what PEFT writes
    with ``path_initial_model_for_weight_conversion``. So PEFT reads it as it is. A note in the file tells that it is
    PiSSA: read here it is split again and trains on as it did, A and B only. Read elsewhere, or from PEFT's file, it is
    plain LoRA of rank 2r, and training on moves all four.

    Args:
        in_features, out_features, rank, alpha: As for LoRALayer, and so are the options. The scaling must be above 0.

    Attributes:
        start_A: ``(in_features, rank)``, A₀, frozen.
        start_B: ``(rank, out_features)``, B₀, frozen.

    Raises:
        ValueError: A weight that is quantised or not finite, a scaling that is not above 0, or another ``init``.
    """

    label, by_init = "PiSSA", True
    filed = (*LoRALayer.filed, "start_A", "start_B")
    note = "Saved as plain LoRA of twice the rank: half of it takes away again what A and B started as."

    def __init__(self, in_features, out_features, rank=4, alpha=None, *, init="pissa", **options):
        if init != "pissa":
            raise ValueError(f"init={init!r}: PiSSA starts A and B at the weight's principal part. Leave init out.")
        super().__init__(in_features, out_features, rank, alpha, **options)
        self.init = init
        self.register_buffer("start_A", self.lora_A.detach().clone())
        self.register_buffer("start_B", self.lora_B.detach().clone())

    @torch.no_grad()
    def start(self):
        """Set A and B to the weight's principal part, and the frozen A₀ and B₀ with them."""
        scale = SCALINGS[self.scaling_rule](self.alpha, self.rank)
        if scale <= 0:
            raise ValueError(f"the scaling is {scale:g}, and PiSSA divides the weight by it. Use an alpha above 0.")
        try:
            U, S, Vt = torch.linalg.svd(self.weight().to(self.lora_A.dtype), full_matrices=False)
        except torch.linalg.LinAlgError as error:
            raise ValueError(f"its weight has no singular values: {error} Load the base afresh.") from None
        root = (S[: self.rank] / self.scaling).sqrt()  # (rank,)
        self.lora_A.copy_((root[:, None] * Vt[: self.rank]).T)  # (in_features, rank)
        self.lora_B.copy_((U[:, : self.rank] * root).T)  # (rank, out_features)
        self.start_A.copy_(self.lora_A)
        self.start_B.copy_(self.lora_B)

    def _all(self):
        return self.lora_A, self.start_A, self.lora_B, self.start_B

    def factors(self):
        """Return [A, A₀] ``(in_features, 2 · rank)`` and [B; −B₀] ``(2 · rank, out_features)``."""
        # B is put together transposed, or its gradient would be a view that keeps that of -B₀ alive.
        return torch.cat([self.lora_A, self.start_A], 1), torch.cat([self.lora_B.T, -self.start_B.T], 1).T

    def forward(self, x, base_output=None):
        """Return the update of ``x``, added to ``base_output`` if that is given; A₀ sees the input before dropout."""
        if not (self.training and self.dropout) or x.is_nested or x.layout is not torch.strided:
            return super().forward(x, base_output)
        A, A0, B, B0 = (one.to(x.dtype) for one in self._all())
        update = (self.drop(x) @ A * self._scale(A)) @ B - (x @ A0 * self._scale(A)) @ B0  # (..., out_features)
        return update if base_output is None else base_output + update.to(base_output.dtype)

    forward.takes_base_output = True

    def file_parts(self):
        """Return A' ``(2 · rank, in_features)`` and B' ``(out_features, 2 · rank)``."""
        A, A0, B, B0 = (whole(one) for one in self._all())  # of parameters in shards all of it
        return {"A": torch.cat([A, A0], 1).T, "B": torch.cat([B, -B0]).T}

    def is_zero(self):
        """Tell whether A and B are what they started as."""
        A, A0, B, B0 = (whole(one) for one in self._all())
        return torch.equal(A, A0) and torch.equal(B, B0)

    def read_parts(self, parts):
        """Split A' ``(2 · rank, in_features)`` and B' ``(out_features, 2 · rank)`` of a file."""
        A, B, r = parts["A"].T, parts["B"].T, self.rank  # (in_features, 2 · rank), (2 · rank, out_features)
        for place, part in zip(self._all(), (A[:, :r], A[:, r:], B[:r], -B[r:]), strict=True):
            place.copy_(part)

    @staticmethod
    def config_of_file(config):
        """Return the LoRAConfig of the layers: half the rank, and the alpha that keeps the scaling."""
        ranks = [config.rank, *config.rank_pattern.values()]
        if any(rank % 2 for rank in ranks):
            raise ValueError(f"the file is marked as PiSSA, and a rank of {ranks} is odd. Save the adapter again.")
        share = 0.5 if config.scaling == "alpha/r" else 0.5**0.5
        halved = {key: rank // 2 for key, rank in config.rank_pattern.items()}
        alphas = {key: alpha * share for key, alpha in config.alpha_pattern.items()}
        return replace(
            config, rank=config.rank // 2, alpha=config.alpha * share, rank_pattern=halved, alpha_pattern=alphas
        )
