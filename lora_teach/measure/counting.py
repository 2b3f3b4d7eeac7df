"""How many numbers an adapter trains, counted from sizes alone."""

from lora_teach.config import LoRAConfig
from lora_teach.layers.build import sizes
from lora_teach.overlay.targets import choose


def layer_parameters(in_features, out_features, rank):
    """Numbers in one LoRALayer: A has in_features · rank, B has rank · out_features (Hu et al. 2021, section 4.2).

    >>> layer_parameters(768, 768, 8), 768 * 768
    (12288, 589824)
    """
    return rank * (in_features + out_features)


def break_even_rank(in_features, out_features):
    """Rank at which an adapter is as large as the weight it adapts: in · out / (in + out), not always whole.

    >>> break_even_rank(64, 64)
    32.0
    """
    return in_features * out_features / (in_features + out_features)


def lora_parameters(model, rank, target_modules=None):
    """Numbers that a plain LoRA adapter trains in ``model``, which is looked at only: no adapter is made.

    Args:
        model: Any module; on ``torch.device("meta")`` a model of any size costs nothing.
        rank: Rank of every adapted layer.
        target_modules: Which layers, as LoRAConfig takes them; None means every linear layer that can be adapted.

    Raises:
        TypeError, ValueError: As LoRAConfig and `lora_teach.overlay.targets.choose` raise them.

    >>> from torch import nn
    >>> lora_parameters(nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)), rank=4)
    1320
    """
    adapted = choose(model, LoRAConfig(rank=rank, target_modules=target_modules)).adapted
    return sum(_beside(module, rank) for module in adapted.values())


def _beside(module, rank):
    in_features, out_features = sizes(module)
    groups = getattr(module, "groups", 1)  # of a convolution: each group of outputs reads its own share of the rank
    return layer_parameters(in_features, out_features, rank) - (rank - rank // groups) * out_features
