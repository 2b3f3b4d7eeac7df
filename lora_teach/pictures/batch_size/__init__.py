"""Batch size: LoRA and full fine-tuning with small and large batches, at equally many examples and at equal steps."""

from lora_teach.pictures.batch_size.view import draw_batch_sizes, gap

__all__ = ["draw_batch_sizes", "gap"]
