"""Race: LoRA at three ranks against full fine-tuning, stopped together or each at its own best."""

from lora_teach.pictures.race.view import Race

__all__ = ["Race"]
