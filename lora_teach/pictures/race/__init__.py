"""Race: choose a language, stop everybody at one step, and compare with stopping each at its own best."""

from lora_teach.pictures.race.view import Race

__all__ = ["Race"]
