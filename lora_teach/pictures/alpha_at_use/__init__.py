"""The two lives of alpha: multiplied before training, or after it."""

from lora_teach.pictures.alpha_at_use.view import draw_alpha_at_use

__all__ = ["draw_alpha_at_use"]
