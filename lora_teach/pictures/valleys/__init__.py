"""Valleys: does the best learning rate stay when the rank changes? Thirty-six runs, done in front of the learner."""

from lora_teach.pictures.valleys.view import Valleys

__all__ = ["Valleys"]
