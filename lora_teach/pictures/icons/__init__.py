"""Icons: eight tiles and how many outer products each is made of."""

from lora_teach.pictures.icons.view import Icons

__all__ = ["Icons"]
