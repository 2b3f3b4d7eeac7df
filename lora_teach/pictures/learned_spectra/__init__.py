"""Spectra: how many directions of a finished update hold most of it, for full fine-tuning and LoRA."""

from lora_teach.pictures.learned_spectra.view import Spectra

__all__ = ["Spectra"]
