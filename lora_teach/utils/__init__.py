"""Helpers that know nothing of LoRA: validation, atomic writing, threads."""
