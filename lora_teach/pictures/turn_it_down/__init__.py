"""Turn it down: scale a finished update and see what the new language loses and English gets back."""

from lora_teach.pictures.turn_it_down.view import TurnItDown

__all__ = ["TurnItDown"]
