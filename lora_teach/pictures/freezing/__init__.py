"""Freezing watched: the largest change of every parameter over some steps of training, exactly zero set apart."""

from lora_teach.pictures.freezing.view import draw_changes

__all__ = ["draw_changes"]
