"""Learning against forgetting: scale each contender's update, and see who has kept more English for as much learned."""

from lora_teach.pictures.forgetting.view import Forgetting

__all__ = ["Forgetting"]
