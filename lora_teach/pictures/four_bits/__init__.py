"""FourBits: how far a weight's numbers move when each becomes the nearest of a few codes."""

from lora_teach.pictures.four_bits.numbers import even_codes, rounded, stored
from lora_teach.pictures.four_bits.view import FourBits

__all__ = ["FourBits", "even_codes", "rounded", "stored"]
