"""What came after LoRA: each file registers one kind of layer, for ``LoRAConfig(variant=name)``."""

from lora_teach.variants.dora import DoRALayer

__all__ = ["DoRALayer"]
