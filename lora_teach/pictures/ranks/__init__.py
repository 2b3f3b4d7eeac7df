"""What rank buys: for several tasks, how much of full fine-tuning's gain each rank has."""

from lora_teach.pictures.ranks.numbers import gain_lines, shares
from lora_teach.pictures.ranks.view import draw_ranks

__all__ = ["draw_ranks", "gain_lines", "shares"]
