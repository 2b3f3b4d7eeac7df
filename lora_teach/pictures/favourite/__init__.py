"""Favourite: a model learns from a judge's reward, and its names become what the judge likes best."""

from lora_teach.pictures.favourite.view import Favourite

__all__ = ["Favourite"]
