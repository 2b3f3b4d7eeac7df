"""Subspace: how far training comes in d random directions, beside LoRA and full fine-tuning."""

from lora_teach.pictures.subspace.numbers import enough, lora_lines, subspace_lines
from lora_teach.pictures.subspace.view import Subspace

__all__ = ["Subspace", "enough", "lora_lines", "subspace_lines"]
