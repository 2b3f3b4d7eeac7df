"""Overlap: do two updates that were trained apart point the same way? φ as heat maps, with chance beside."""

from lora_teach.pictures.overlap.view import Overlap

__all__ = ["Overlap"]
