"""Names at any strength of an adapter, as fast as a slider asks for them."""

from lora_teach.bases import sample_names
from lora_teach.datasets.names import decode
from lora_teach.overlay.base import plain_copy
from lora_teach.overlay.nested_modules import walk
from lora_teach.utils.threads import one_thread

import torch
import torch.nn.functional as F


def write_names(model, adapter, strength, noise):
    """Return the names that a LoRAModel writes with one adapter, or None, which stays at this strength."""
    model.set_adapter(None if adapter is None else {adapter: strength})
    with one_thread():
        return sample_names(model, noise)


class Writer:
    """Writes as `write_names` does, in a third of the time: the update lies in the weights of a LoRAModel's copy."""

    def __init__(self, model):
        self.plain = plain_copy(model.base_model).requires_grad_(False)
        self._weights = {
            path: (module.weight, module.weight.clone())
            for path, module in self.plain.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        self._updates = {
            adapter: {path: layer.delta_weight().detach() for path, layer in walk(layers)}  # (out, in) each
            for adapter, layers in model.adapters.items()
        }

    def write(self, adapter, strength, noise):
        """Return the names at this strength; adapter None means the base alone."""
        return self.mix({} if adapter is None else {adapter: strength}, noise)

    def mix(self, weights, noise):
        """Return the names of a mixture ``{adapter: weight}``, as ``set_adapter(weights)`` has it."""
        updates = [(self._updates[adapter], strength) for adapter, strength in weights.items()]
        with one_thread():
            for path, (weight, original) in self._weights.items():
                weight.copy_(original)
                for update, strength in updates:
                    if path in update:
                        weight.add_(update[path], alpha=strength)
            return _write(self.plain, noise)


@torch.inference_mode()
def _write(gpt, noise):
    """Write as `sample_names` does with a plain NameGPT, each letter read once: its keys and values are kept."""
    count, longest, _ = noise.shape
    tokens = torch.zeros(count, longest + 1, dtype=torch.long)  # marks, the first is the start
    ended = torch.zeros(count, dtype=torch.bool)
    heads, width = gpt.blocks[0].attention.heads, gpt.position.embedding_dim
    kept = [noise.new_empty(2, count, heads, longest, width // heads) for _ in gpt.blocks]  # keys, values
    for position in range(longest):
        x = gpt.embedding(tokens[:, position]) + gpt.position.weight[position]  # (names, width)
        for block, (keys, values) in zip(gpt.blocks, kept, strict=True):
            seen, own = block.norm1(x), block.attention
            keys[:, :, position] = own.k_proj(seen).view(count, heads, -1)
            values[:, :, position] = own.v_proj(seen).view(count, heads, -1)
            asked = own.q_proj(seen).view(count, heads, 1, -1)
            read = F.scaled_dot_product_attention(asked, keys[:, :, : position + 1], values[:, :, : position + 1])
            x = x + own.o_proj(read.reshape(count, width))
            x = x + block.mlp(block.norm2(x))
        letter = (gpt.head(gpt.norm(x)) + noise[:, position]).argmax(-1)  # (names,)
        tokens[:, position + 1] = letter
        ended |= letter == 0
        if ended.all():
            break
    return decode(tokens[:, 1:])
