"""Waking up: the same run from four starts. Which factor has to start at zero, and why not both?"""

from lora_teach.pictures.waking_up.view import WakingUp

__all__ = ["WakingUp"]
