"""Cut or train: cut a finished fine-tuning down to rank r, or train at rank r from the start."""

from lora_teach.pictures.cut_or_train.view import CutOrTrain

__all__ = ["CutOrTrain"]
