"""Rehearsal: names of the old language among the new ones, and what that keeps and costs."""

from lora_teach.pictures.rehearsal.view import Rehearsal

__all__ = ["Rehearsal"]
