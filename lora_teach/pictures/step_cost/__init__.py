"""What a LoRA step costs, as a share of full fine-tuning's: its FLOPs by rank, and its time beside them."""

from lora_teach.pictures.step_cost.numbers import step_times
from lora_teach.pictures.step_cost.view import draw_step_cost

__all__ = ["draw_step_cost", "step_times"]
