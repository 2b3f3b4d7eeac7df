"""What the loss counts: how long the examples are, and which of their tokens are masked."""

from lora_teach.pictures.what_counts.view import WhatCounts

__all__ = ["WhatCounts"]
