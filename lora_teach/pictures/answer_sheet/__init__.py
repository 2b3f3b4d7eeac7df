"""The answer sheet: filled live while a language model trains, or by a slider from runs that were kept."""

from lora_teach.pictures.answer_sheet.view import AnswerSheets, train_on_sheet

__all__ = ["AnswerSheets", "train_on_sheet"]
