"""Angle: digits that the base misreads, and a LoRA that is trained anew at every move of rank, angle or alpha."""

from lora_teach.pictures.angle.view import Angle

__all__ = ["Angle"]
