"""Icons: eight tiles and how many outer products each is made of."""

from lora_teach.pictures.icons.view import Icons, draw_outer_products

__all__ = ["Icons", "draw_outer_products"]
