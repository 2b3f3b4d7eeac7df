"""Mix: a slider from one adapter to another; the names, and what the mixture still knows of each language."""

from lora_teach.pictures.mix.view import Mix

__all__ = ["Mix"]
