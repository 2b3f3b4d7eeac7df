"""TwoRates: A's learning rate against B's, with the diagonal on which both are one."""

from lora_teach.pictures.two_rates.numbers import best_by_ratio, table
from lora_teach.pictures.two_rates.view import TwoRates

__all__ = ["TwoRates", "best_by_ratio", "table"]
