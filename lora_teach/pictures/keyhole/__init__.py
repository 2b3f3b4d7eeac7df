"""Keyhole: a LoRA layer learns a photo that it never sees, and ends where the SVD would have cut it off."""

from lora_teach.pictures.keyhole.view import Keyhole

__all__ = ["Keyhole"]
