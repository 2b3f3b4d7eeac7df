"""Broken runs: one training, and what its loss looks like after each of the usual mistakes."""

from lora_teach.pictures.broken_runs.numbers import MISTAKES, Run, draw_runs, new_run
from lora_teach.pictures.broken_runs.view import BrokenRuns, draw_lengths, draw_losses

__all__ = ["MISTAKES", "BrokenRuns", "Run", "draw_lengths", "draw_losses", "draw_runs", "new_run"]
