"""A photo's singular value decomposition: what the largest r outer products show of it, and what they cost."""

from lora_teach.pictures.photo.view import Photo, draw_attempts, draw_one

__all__ = ["Photo", "draw_attempts", "draw_one"]
