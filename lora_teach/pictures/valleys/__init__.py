"""Valleys: does the best learning rate stay when the rank changes? Thirty-six runs, done in front of the learner."""

from lora_teach.pictures.valleys.view import Valleys, grow_valleys

__all__ = ["Valleys", "grow_valleys"]
