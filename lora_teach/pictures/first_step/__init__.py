"""The first step: how far it lowers the loss, by rank, for three scaling rules and two optimisers."""

from lora_teach.pictures.first_step.numbers import OPTIMIZERS, RANKS, first_drops, growth
from lora_teach.pictures.first_step.view import POWERS, draw_first_steps, said

__all__ = ["OPTIMIZERS", "POWERS", "RANKS", "draw_first_steps", "first_drops", "growth", "said"]
