"""Which kind of layer fits beside which kind of module."""

import math

from lora_teach.layer import VARIANTS
from lora_teach.utils.validation import check_rank

import torch
from torch import nn

KINDS = {"Linear": "linear layers", "Embedding": "embeddings", "Conv2d": "convolutions"}


def is_conv1d(module):
    """Tell whether ``module`` is transformers' Conv1D, GPT-2's linear layer with a weight of shape (in, out)."""
    kinds = type(module).__mro__  # by name, so that transformers need not be imported
    return any(kind.__name__ == "Conv1D" and kind.__module__.startswith("transformers.") for kind in kinds)


def is_adaptable(module):
    """Tell whether a LoRALayer fits beside ``module``: an ``nn.Linear`` (or subclass) or transformers' Conv1D."""
    return isinstance(module, nn.Linear) or is_conv1d(module)


def fits(module):
    """Tell whether a LoRA layer fits beside ``module`` if it is asked for by name: embeddings and Conv2d do too."""
    return is_adaptable(module) or isinstance(module, nn.Embedding | nn.Conv2d)


def kind_of(module):
    """Return the ``kind`` of layer that stands beside a module that `fits`."""
    return next((kind.__name__ for kind in (nn.Embedding, nn.Conv2d) if isinstance(module, kind)), "Linear")


def known_forward(module):
    """Tell whether ``module`` does no more than apply its weight: its forward is torch's own, or one that was read."""
    own = vars(module).get("forward")  # patched onto this one module
    if own is not None and not (hasattr(module, "_hf_hook") and hasattr(module, "_old_forward")):  # accelerate moves it
        return False
    kind = type(module)
    plain = (nn.Linear.forward, nn.Embedding.forward, nn.Conv2d.forward)
    owner = kind.forward.__qualname__.partition(".")[0]
    read = kind.forward.__module__.startswith("transformers.") and owner in ("Conv1D", "FalconLinear")
    return kind.forward in plain or read or (isinstance(module, nn.Embedding) and hasattr(module, "embed_scale"))


def sizes(module):
    """Return ``(in_features, out_features)`` of a module that `fits`; a convolution's input is a patch."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, nn.Embedding):
        return module.num_embeddings, module.embedding_dim
    if isinstance(module, nn.Conv2d):
        return module.in_channels * math.prod(module.kernel_size), module.out_channels
    return tuple(module.weight.shape)  # Conv1D: (in_features, out_features)


def misfit(name, module, config):
    """Return why the layer that ``config`` asks for can't stand beside ``module``, with the cure, or None."""
    kind, rank, layers = type(module).__name__, config.rank_of(name), VARIANTS[config.variant]
    if kind_of(module) not in layers:
        beside = " and ".join(KINDS[one] for one in layers)
        return f"variant={config.variant!r} is for {beside}, and this is a {kind}. Use variant='lora' there."
    if isinstance(module, nn.Embedding):
        if module.max_norm is not None:
            return (
                f"max_norm={module.max_norm} makes the embedding rewrite its own table at each call, so the base would "
                "not stay as it is. Leave it out."
            )
        if type(module).forward is not nn.Embedding.forward and not hasattr(module, "embed_scale"):
            return (
                f"{kind} has a forward of its own, and which rows it looks up can't be told from outside. "
                "Leave it out, or put it into modules_to_save."
            )
    if isinstance(module, nn.Conv2d):
        if any(step > 1 and size > 1 for step, size in zip(module.dilation, module.kernel_size, strict=True)):
            return (
                f"dilation={module.dilation} is not in PEFT's format: it would read the adapter as one without. "
                "Leave it out, or put it into modules_to_save."
            )
        if module.padding_mode != "zeros" and module.padding not in (0, "valid", (0, 0)):
            return (
                f"padding_mode={module.padding_mode!r} is not in PEFT's format, which pads with zeros. "
                "Leave it out, or put it into modules_to_save."
            )
        if rank % module.groups:
            return (
                f"rank={rank} can't be shared out among its {module.groups} groups. Use a multiple of {module.groups}."
            )
    in_features, out_features = sizes(module)
    try:
        kind = kind if isinstance(module, nn.Embedding | nn.Conv2d) else "Linear"
        check_rank(rank, f"{kind}({in_features} → {out_features})", min(in_features, out_features))
    except ValueError as error:
        return str(error)
    return None


def new_layer(name, module, config):
    """Return the layer that ``config`` asks for beside ``module``, which the base knows as ``name``."""
    weight = module.weight
    options = dict(
        rank=config.rank_of(name),
        alpha=config.alpha_of(name),
        scaling=config.scaling,
        learnable_scaling=config.learnable_scaling,
        dropout=config.dropout,
        init=config.init,
        device=weight.device,
        # Half precision is too coarse for small steps, so adapters over it, and over quantised weights, are float32.
        dtype=torch.float64 if weight.dtype == torch.float64 else torch.float32,
    )
    given = sizes(module)
    if isinstance(module, nn.Embedding):
        options |= {"padding_idx": module.padding_idx, "scale_grad_by_freq": module.scale_grad_by_freq}
        options |= {"output_scale": getattr(module, "embed_scale", 1.0)}
    elif isinstance(module, nn.Conv2d):
        given = module.in_channels, module.out_channels, module.kernel_size
        options |= {"stride": module.stride, "padding": module.padding, "groups": module.groups}
    try:
        layer = VARIANTS[config.variant][kind_of(module)](*given, **options)
        layer.attach(module)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return layer
