"""A small LoRAModel to train."""

from lora_teach import LoRAModel
from tests.toy import filled, mlp

import pytest


@pytest.fixture
def model():
    return filled(LoRAModel(mlp()))
