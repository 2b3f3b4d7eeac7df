"""Waking up: the same run from four starts. Which factor has to start at zero, and why not both?"""

from lora_teach.pictures.waking_up.view import STARTS, WakingUp

__all__ = ["STARTS", "WakingUp"]
