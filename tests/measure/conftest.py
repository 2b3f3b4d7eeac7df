"""Bases for what a step costs."""

from lora_teach.measure.costs import new_base

import pytest


@pytest.fixture(scope="module")
def bases():
    """The bases that were asked for, each made once."""
    made = {}
    yield lambda name: made[name] if name in made else made.setdefault(name, new_base(name))
    made.clear()
