"""OwnRate: a variant beside plain LoRA, both at one learning rate, then each at its own."""

from lora_teach.pictures.own_rate.numbers import beside, compare, told, variants
from lora_teach.pictures.own_rate.view import OwnRate

__all__ = ["OwnRate", "beside", "compare", "told", "variants"]
