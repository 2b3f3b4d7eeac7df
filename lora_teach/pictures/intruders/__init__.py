"""Intruders: shrink the directions that fine-tuning brought in, and watch what is learned and what is forgotten."""

from lora_teach.pictures.intruders.view import Intruders

__all__ = ["Intruders"]
