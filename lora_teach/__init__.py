"""LoRA, written to be read: a layer, a model that lays it over any base, and a training loop."""

from lora_teach import layers  # noqa: F401  each variant registers itself
from lora_teach.config import LoRAConfig
from lora_teach.layer import LoRALayer
from lora_teach.model import LoRAModel
from lora_teach.training import History, NonFiniteLoss, Step, train, training_steps

__all__ = ["History", "LoRAConfig", "LoRALayer", "LoRAModel", "NonFiniteLoss", "Step", "train", "training_steps"]
