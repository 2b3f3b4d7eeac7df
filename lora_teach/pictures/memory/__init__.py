"""Memory: what a training step holds, and why LoRA saves much of it in small batches and little in large ones."""

from lora_teach.pictures.memory.view import MemoryBars

__all__ = ["MemoryBars"]
