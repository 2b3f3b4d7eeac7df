"""The models that the course adapts: NameGPT on names, DigitNet on digits."""

from lora_teach.bases.digit_net import DigitNet, accuracy, load_digit_net
from lora_teach.bases.language_adapters import load_language_adapter
from lora_teach.bases.name_gpt import NameGPT, evaluate, gumbel_noise, load_name_gpt, name_loss, sample_names

__all__ = [
    "DigitNet",
    "NameGPT",
    "accuracy",
    "evaluate",
    "gumbel_noise",
    "load_digit_net",
    "load_language_adapter",
    "load_name_gpt",
    "name_loss",
    "sample_names",
]
