"""A small LoRAModel to train."""

from lora_teach import LoRAModel
from tests.toy import awake, mlp

import pytest


@pytest.fixture
def model():
    return awake(LoRAModel(mlp()))
