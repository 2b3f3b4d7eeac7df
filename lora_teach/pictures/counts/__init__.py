"""Counts: what a rank costs, in one layer and in a whole model."""

from lora_teach.pictures.counts.view import Counts

__all__ = ["Counts"]
