"""The cases in which a prediction is held against a real step."""

from lora_teach.measure.costs import SIZES

import pytest

CASES = [
    pytest.param(base, *size, marks=[pytest.mark.smollm2] if base == "SmolLM2-135M" else [])
    for base, sizes in SIZES.items()
    for size in sizes
]
