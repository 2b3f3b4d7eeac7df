"""OwnRate: a variant beside plain LoRA, both at one learning rate, then each at its own."""

from lora_teach.pictures.own_rate.numbers import compare, digit_entries, smollm2_entries, told, variants
from lora_teach.pictures.own_rate.table import as_markdown, code_lines
from lora_teach.pictures.own_rate.view import OwnRate

__all__ = ["OwnRate", "as_markdown", "code_lines", "compare", "digit_entries", "smollm2_entries", "told", "variants"]
