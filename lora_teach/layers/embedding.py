"""The LoRA layer beside an embedding: every token gets r numbers of its own, and B turns them into an update."""

from lora_teach.layer import LoRALayer, register_variant
from lora_teach.utils.validation import check_count

import torch.nn.functional as F
from torch import nn


@register_variant("lora")
class LoRAEmbedding(LoRALayer):
    """The trainable low-rank update that is added to the output of a frozen ``nn.Embedding``.

    Computes ``scaling * (A[x] B)``: what a LoRALayer gives on one-hot inputs. As in the authors' code ``lora_A`` starts
    at zero and ``lora_B`` is standard normal, so a new layer changes nothing; the option ``init`` has no say here.

    Args:
        num_embeddings: Size of the table.
        embedding_dim: Size of one embedding.
        rank: Inner size r of the update, ``1 <= rank <= min(num_embeddings, embedding_dim)``.
        alpha: As for LoRALayer, and so are the further options. Dropout is not applied: token numbers can't be dropped.
        padding_idx: The row of ``lora_A`` that gets no gradient, as that row of the table gets none.
        scale_grad_by_freq: Divide a token's gradient by how often it is in the batch, as ``nn.Embedding`` does.
        output_scale: What the embedding multiplies its rows by, as some models' do.

    Shapes:
        forward: whole numbers ``(...) -> (..., embedding_dim)``.
        lora_A: ``(num_embeddings, rank)``. lora_B: ``(rank, embedding_dim)``.

    Raises:
        TypeError, ValueError: As for LoRALayer.
    """

    kind = "Embedding"
    file_keys = {".lora_embedding_A": "A", ".lora_embedding_B": "B"}

    def __init__(
        self,
        num_embeddings,
        embedding_dim,
        rank=4,
        alpha=None,
        *,
        padding_idx=None,
        scale_grad_by_freq=False,
        output_scale=1.0,
        **options,
    ):
        check_count("num_embeddings", num_embeddings)
        check_count("embedding_dim", embedding_dim)
        super().__init__(num_embeddings, embedding_dim, rank, alpha, **options)
        self.padding_idx, self.scale_grad_by_freq = padding_idx, scale_grad_by_freq
        self.output_scale = float(output_scale)

    def reset_parameters(self):
        """Set ``lora_A`` to zero and draw ``lora_B`` anew: the update is zero again."""
        nn.init.zeros_(self.lora_A)
        nn.init.normal_(self.lora_B)

    def forward(self, x, base_output=None):
        """Return the update of the tokens ``x``, added to ``base_output`` if that is given."""
        hidden = F.embedding(
            x, self.lora_A, self.padding_idx, scale_grad_by_freq=self.scale_grad_by_freq
        )  # (..., rank)
        update = (hidden * self._scale(hidden)) @ self.lora_B * self.output_scale  # (..., embedding_dim)
        return update if base_output is None else base_output + update.to(base_output.dtype)

    forward.takes_base_output = True

    def delta_weight(self):
        """Return what merging adds to ``nn.Embedding.weight``: ``scaling * A B``, (num_embeddings, embedding_dim)."""
        return super().delta_weight().T

    def drop(self, x):
        """Return the token numbers, of which none can be dropped."""
        return x
