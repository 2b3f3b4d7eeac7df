"""The LoRA layer beside a convolution: a linear layer's update, of every patch of the picture."""

from lora_teach.layer import LoRALayer, register_variant
from lora_teach.utils.validation import check_count

import torch.nn.functional as F
from torch import nn


@register_variant("lora")
class LoRAConv2d(LoRALayer):
    """The trainable low-rank update that is added to the output of a frozen ``nn.Conv2d``.

    A convolution is a linear layer on patches of ``in_channels · height · width`` numbers, so A and B are those of a
    LoRALayer. A is run as a convolution to r channels with the frozen layer's kernel size, stride and padding, B as a
    1 × 1 convolution after it, as PEFT does.

    With ``groups`` A sees all input channels, and B maps each group of the r channels to its group of outputs. Such an
    update reaches across the groups of the frozen weight, so it can't be merged into it.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: One number, or (height, width).
        rank: Inner size r, from 1 to the smaller of ``in_channels · height · width`` and ``out_channels``, and a
            multiple of ``groups``.
        alpha: As for LoRALayer, and so are the further options.
        stride, padding: As for ``nn.Conv2d``.
        groups: That of the frozen layer.

    Shapes:
        forward: ``(batch, in_channels, …) -> (batch, out_channels, …)``, or the same without the batch.
        lora_A: ``(in_channels · height · width, rank)``. lora_B: ``(rank / groups, out_channels)``.

    Raises:
        TypeError, ValueError: As for LoRALayer, or a rank that is no multiple of ``groups``.
    """

    kind = "Conv2d"

    def __init__(
        self, in_channels, out_channels, kernel_size, rank=4, alpha=None, *, stride=1, padding=0, groups=1, **options
    ):
        height, width = kernel_size if isinstance(kernel_size, tuple | list) else (kernel_size, kernel_size)
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
            check_count(name, value)
        super().__init__(in_channels * height * width, out_channels, rank, alpha, **options)
        if rank % groups:
            raise ValueError(
                f"rank={rank} can't be shared out among the {groups} groups of this Conv2d. Use a multiple of {groups}."
            )
        self.patch = (in_channels, height, width)
        self.stride, self.padding, self.groups = stride, padding, groups
        if groups > 1:
            self.lora_B = nn.Parameter(self.lora_B.detach()[: rank // groups].clone())

    def forward(self, x, base_output=None):
        """Return the update of ``x``, added to ``base_output`` if that is given."""
        A, B = self.kernels()
        x = self.drop(x)
        hidden = F.conv2d(x, A.to(x.dtype), stride=self.stride, padding=self.padding)  # (batch, rank, …)
        update = F.conv2d(hidden * self._scale(hidden), B.to(x.dtype), groups=self.groups)  # (batch, out_channels, …)
        return update if base_output is None else base_output + update.to(base_output.dtype)

    forward.takes_base_output = True

    def kernels(self):
        """Return A ``(rank, in_channels, height, width)`` and B ``(out_channels, rank / groups, 1, 1)``."""
        return self.lora_A.T.unflatten(1, self.patch), self.lora_B.T[:, :, None, None]

    def delta_weight(self):
        """Return what merging adds to ``nn.Conv2d.weight``: (out_channels, in_channels, height, width).

        Raises:
            ValueError: There are groups.
        """
        if self.groups > 1:
            raise ValueError(
                f"an update of a Conv2d with groups={self.groups} reaches across the groups, and its weight doesn't. "
                "Keep the adapter beside it."
            )
        return super().delta_weight().unflatten(1, self.patch)

    def file_parts(self):
        """Return the kernels A and B."""
        return dict(zip("AB", self.kernels(), strict=True))
