"""Quantised bases, as QLoRA has them: weights in four bits, dequantised on the way, under adapters in float32."""

from lora_teach.bases.quantized.codes import Quantized, dynamic_codes, normal_float, quantize
from lora_teach.bases.quantized.convert import bits_per_parameter, dequantize_, quantize_
from lora_teach.bases.quantized.linear import QuantizedLinear
from lora_teach.bases.quantized.with_bitsandbytes import quantize_with_bitsandbytes_

__all__ = [
    "Quantized",
    "QuantizedLinear",
    "bits_per_parameter",
    "dequantize_",
    "dynamic_codes",
    "normal_float",
    "quantize",
    "quantize_",
    "quantize_with_bitsandbytes_",
]
