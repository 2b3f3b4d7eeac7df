"""How many examples does it take? What is right of what was held out, after 10, 30, 100 and 300."""

from lora_teach.pictures.how_many_examples.view import HowManyExamples

__all__ = ["HowManyExamples"]
