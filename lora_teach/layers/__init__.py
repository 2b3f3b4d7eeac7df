"""What else can be adapted, and how else; ``build`` chooses the layer that stands beside a module."""

from lora_teach.layers.dora import DoRALayer

__all__ = ["DoRALayer"]
