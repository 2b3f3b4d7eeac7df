"""Stability: over a whole run, how large is the update at each rank, under each rule of scaling?"""

from lora_teach.pictures.stability.numbers import RANKS, RULES, followed, growth_at_end
from lora_teach.pictures.stability.view import Stability

__all__ = ["RANKS", "RULES", "Stability", "followed", "growth_at_end"]
