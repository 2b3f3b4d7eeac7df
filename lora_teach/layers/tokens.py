"""Rows of a vocabulary's table that an adapter brings along: those of new tokens, such as the marks of a chat."""

import torch
import torch.nn.functional as F
from torch import nn


class TrainedTokens(nn.Module):
    """An adapter's own rows for some tokens, in place of the rows that a frozen embedding or output layer has.

    What PEFT's ``trainable_token_indices`` trains. The rows start as copies, so a new layer changes nothing. A module
    whose weight is tied to the table, such as the output layer, follows with the same rows: see ``of``.

    Args:
        module: The ``nn.Embedding``, or ``nn.Linear`` without a bias, that it stands beside.
        indices: The tokens.
        of: The TrainedTokens of the table that ``module``'s weight is tied to; None means rows of its own.

    Attributes:
        rows: ``(tokens, width)``, under the name that PEFT's files have.

    Shapes:
        forward: embedding: whole numbers (...) and output (..., width); linear: (..., width) and (..., vocabulary).
    """

    def __init__(self, module, indices, of=None):
        super().__init__()
        weight = module.weight
        self._of = (of,)  # in a tuple, so that the rows are counted, saved and moved once
        self.looks_up = isinstance(module, nn.Embedding)
        self.options = {}
        if self.looks_up:
            self.options = {"scale_grad_by_freq": module.scale_grad_by_freq}
            self.output_scale = float(getattr(module, "embed_scale", 1.0))
            if module.padding_idx in indices:
                self.options["padding_idx"] = indices.index(module.padding_idx)
        indices = torch.tensor(indices, device=weight.device)
        places = torch.full((len(weight),), -1, device=weight.device)
        places[indices] = torch.arange(len(indices), device=weight.device)
        self.register_buffer("indices", indices, persistent=False)  # (tokens,)
        self.register_buffer("places", places, persistent=False)  # (vocabulary,), each token's row, or -1
        if of is None:
            dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32  # as a LoRALayer's
            self.token_adapter = nn.Module()
            self.token_adapter.trainable_tokens_delta = nn.Parameter(weight.detach()[indices].to(dtype))

    @property
    def rows(self):
        """The tokens' rows, ``(tokens, width)``."""
        return (self._of[0] or self).token_adapter.trainable_tokens_delta

    @property
    def follows(self):
        """Whether the rows are another's."""
        return self._of[0] is not None

    def forward(self, x, base_output):
        """Return ``base_output``, which the module gave for ``x``, as it is with these rows in the module's weight."""
        rows = self.rows.to(base_output.dtype)
        if not self.looks_up:
            return base_output.index_copy(-1, self.indices, F.linear(x, rows).to(base_output.dtype))
        places = self.places[x]  # (...)
        own = F.embedding(places.clamp_min(0), rows, **self.options)  # (..., width)
        own = own if self.output_scale == 1 else own * self.output_scale
        return torch.where((places >= 0).unsqueeze(-1), own, base_output)

    forward.takes_base_output = True

    def write_into(self, weight):
        """Write the rows into a table ``(vocabulary, width)``, in place."""
        weight[self.indices] = self.rows.to(weight.dtype)

    def extra_repr(self):
        """Tell the tokens where the layer is printed; checkpoints know them by this."""
        return f"tokens={self.indices.tolist()}"


def why_no_tokens(module, indices):
    """Return why rows of ``module``'s table can't be trained, with the cure, or None."""
    kind = type(module).__name__
    if not isinstance(module, nn.Embedding | nn.Linear):
        return f"a {kind} is no embedding and no output layer, so it has no rows of tokens. Name one that has."
    weight = module.weight
    if not weight.is_floating_point() or weight.dtype.itemsize == 1:
        return f"its weight is quantised ({weight.dtype}), so its rows can't be trained. Use an unquantised one."
    if getattr(module, "bias", None) is not None:
        return "it has a bias, which PEFT leaves out where it trains tokens. Use modules_to_save."
    if getattr(module, "max_norm", None) is not None:
        return f"max_norm={module.max_norm} makes it rewrite its own table at each call. Use modules_to_save."
    plain = type(module).forward in (nn.Embedding.forward, nn.Linear.forward)
    if not plain and not hasattr(module, "embed_scale"):
        return f"{kind} has a forward of its own, and what it does with its rows can't be told. Use modules_to_save."
    if max(indices) >= len(weight):
        return (
            f"token {max(indices)} is none of its {len(weight):,} tokens, 0 to {len(weight) - 1}. Resize the table "
            "first: base.resize_token_embeddings(len(tokenizer))."
        )
    return None
