"""LoRA+: A and B learn at different rates. Nothing else changes: not the layer, not the file."""

from lora_teach.layer import LoRALayer
from lora_teach.layers.embedding import LoRAEmbedding
from lora_teach.utils.validation import check_above_zero

from torch import nn


def loraplus_groups(model, lr, ratio=16.0, *, embedding_lr=1e-6, weight_decay=0.0):
    """Return parameter groups in which every B learns ``ratio`` times as fast as every A.

    Hayou, Ghosh and Yu 2024, LoRA+ (arXiv 2402.12354), section 4: at one rate for both, the features of a wide network
    move too little through B. They use a ratio of 2 to 16 and a smaller ``lr`` than for plain LoRA. Give the groups to
    any optimiser of torch's form, and the optimiser to `lora_teach.train`:

    >>> import torch
    >>> from lora_teach import LoRAModel
    >>> model = LoRAModel(torch.nn.Sequential(torch.nn.Linear(6, 4)))
    >>> optimizer = torch.optim.AdamW(loraplus_groups(model, lr=2e-4, ratio=16))
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.0002, 0.0032]

    Args:
        model: A LoRAModel, or a module that holds one; only what requires a gradient is taken.
        lr: Rate of every A, and of matrices that are trained whole (``modules_to_save``).
        ratio: Rate of every B over that of A, above 0. Vectors, such as DoRA's magnitudes, learn at B's rate.
        embedding_lr: Rate of both factors beside an embedding, 1e-6 in the authors' code.
        weight_decay: Of all groups but that of biases and of LayerNorm's vectors.

    Returns:
        A list of up to four dicts, A's first; an empty group is left out. They are those of PEFT's
        ``create_loraplus_optimizer``.

    Raises:
        TypeError: A rate or ratio that is not a number.
        ValueError: One that is not above 0, or a model in which nothing trains.
    """
    for name, value, usual in (("lr", lr, "1e-4"), ("ratio", ratio, "16"), ("embedding_lr", embedding_lr, "1e-6")):
        check_above_zero(name, value, f"a number such as {usual}")
    kinds = {"A": [], "embedding": [], "B": [], "B without decay": []}
    seen = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                kinds[_kind(module, name, parameter)].append(parameter)
    if not seen:
        raise ValueError("nothing in this model requires a gradient. Choose an adapter first: set_adapter(name).")
    rates = {"A": lr, "embedding": embedding_lr, "B": lr * ratio, "B without decay": lr * ratio}
    return [
        {"params": parameters, "lr": rates[kind], "weight_decay": 0.0 if kind == "B without decay" else weight_decay}
        for kind, parameters in kinds.items()
        if parameters
    ]


def _kind(module, name, parameter):
    factor = name if isinstance(module, LoRALayer) else ""
    if isinstance(module, LoRAEmbedding) and factor in ("lora_A", "lora_B"):
        return "embedding"
    if factor == "lora_B" or parameter.dim() == 1:
        plain = "bias" in name or isinstance(module, nn.LayerNorm)
        return "B without decay" if plain else "B"
    return "A"
