"""New data arrives: four ways to go on from a finished adapter, and what becomes of what it knew."""

from lora_teach.pictures.new_data.live import go_on_live
from lora_teach.pictures.new_data.view import NewData

__all__ = ["NewData", "go_on_live"]
