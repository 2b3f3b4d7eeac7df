"""Equal KL: how much reward rank 1, rank 8 and full fine-tuning get for the same distance from the base."""

from lora_teach.pictures.equal_kl.view import EqualKL

__all__ = ["EqualKL"]
