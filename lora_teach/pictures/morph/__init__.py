"""Morph: turn an adapter's strength and watch English names become those of another language, letter by letter."""

from lora_teach.pictures.morph.view import Morph, names_demo

__all__ = ["Morph", "names_demo"]
