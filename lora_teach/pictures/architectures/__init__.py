"""Counts in full: what a rank costs in real architectures, from NameGPT to GPT-3."""

from lora_teach.pictures.architectures.view import CountsInFull

__all__ = ["CountsInFull"]
