"""Magnitudes: how far a fine-tuning turned the weights' rows, against how much longer or shorter it made them."""

from lora_teach.pictures.magnitudes.numbers import layer_points, slope, turned_and_stretched
from lora_teach.pictures.magnitudes.view import Magnitudes

__all__ = ["Magnitudes", "layer_points", "slope", "turned_and_stretched"]
