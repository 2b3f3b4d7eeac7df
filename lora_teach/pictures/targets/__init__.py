"""Where the adapters go: which of NameGPT's linear layers are adapted, and how many numbers that trains."""

from lora_teach.pictures.targets.view import Targets

__all__ = ["Targets"]
