"""An exam for a language model: 24 sentences to be put into the house format, graded value by value.

`sit` lets a model answer, `exam_steps` trains it and sits it down again every few steps. A prompt is a function from an
appointment to a conversation, so that help in the prompt (rules, examples) is compared with an adapter on the same
sentences. ``data/make_answer_sheet.py`` runs it in full; the results lie in ``data/answer_sheet.json``.
"""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from lora_teach.datasets import appointments
from lora_teach.datasets.appointments import DAYS, Appointment
from lora_teach.training import History, training_steps

import numpy as np

COLUMNS = ("valid", "where", "when", "who")  # of the sheet, in the order in which they are drawn


@dataclass(frozen=True)
class Sheet:
    """The answers of a model to an exam, one a sentence, their ``marks``, bool ``(sentences, 4)``, and the seconds."""

    exam: Sequence[Appointment]
    answers: Sequence[str]
    marks: np.ndarray
    seconds: float | None = None

    def __len__(self):
        return len(self.answers)

    def right(self, seen=None):
        """Return how many answers have every value right: of all, or of those in seen (or unseen) patterns."""
        return int(self._chosen(seen).all(axis=1).sum())

    def count(self, column, seen=None):
        """Return how many answers are right in this column."""
        return int(self._chosen(seen)[:, COLUMNS.index(column)].sum())

    def _chosen(self, seen):
        patterns = np.array([appointment.seen for appointment in self.exam[: len(self)]], dtype=bool)
        return self.marks if seen is None else self.marks[patterns == seen]


def grade_sheet(exam, answers, seconds=None, capitals=False):
    """Return the graded sheet; of a sheet that is still being filled, the first answers."""
    graded = [appointments.grade(one, answer, capitals) for one, answer in zip(exam, answers, strict=False)]
    marks = np.array([[one[column] for column in COLUMNS] for one in graded], dtype=bool).reshape(-1, len(COLUMNS))
    return Sheet(exam, list(answers), marks, seconds)


def stored(exam, kept):
    """Return a sheet of ``data/answer_sheet.json``."""
    marks = np.array([[mark == "1" for mark in row] for row in kept["marks"]], dtype=bool)
    return Sheet(exam, kept["answers"], marks, kept["seconds"])


def bare(appointment):
    """Return the question as the training examples put it."""
    return appointments.example(appointment)[:1]


def with_examples(count):
    """Return the prompt in which so many training examples, each of another weekday, have been answered before."""
    first = {}
    for appointment in appointments.training():
        first.setdefault(appointment.when, appointment)
    if not 1 <= count <= len(first):
        raise ValueError(f"count={count}: there are {len(first)} weekdays. Use 1 to {len(first)}.")
    shown = [message for one in list(first.values())[:count] for message in appointments.example(one)]
    return lambda appointment: [*shown, *bare(appointment)]


def plain_program(sentence):
    """Answer without a model, as one would who has read the training sentences."""
    day = re.search("|".join(DAYS), sentence)
    city = re.search(r"\b(?:[Ii]n|to|visit) ([A-Z]\w+)", sentence)
    name = day and re.search(r"\b(?!In )[A-Z]\w+ [A-Z]\w+", sentence.replace(day[0], ""))
    if not (city and name):
        return "no answer"
    return json.dumps({"who": name[0], "where": city[1], "when": DAYS.index(day[0]) + 1})


def sit(base, model, exam, prompt=bare, *, capitals=False, batch_size=24, most_tokens=64):
    """Let a model answer the exam, greedily, and return its sheet with the seconds it took.

    Args:
        base: A `lora_teach.bases.registry.TextBase`.
        model: ``base.model`` or a LoRAModel around it.
        exam: From `appointments.exam`.
        prompt: From an appointment to the conversation that asks for it.
        capitals: Whether surnames must stand in capitals.
        batch_size: Sentences answered at once.
        most_tokens: An answer that is longer is cut off; the house format takes fewer than 40.
    """
    asked = [prompt(appointment) for appointment in exam]
    started = time.perf_counter()
    answers = base.answer(model, asked, max_new_tokens=most_tokens, batch_size=batch_size)
    return grade_sheet(exam, answers, time.perf_counter() - started, capitals)


def exam_steps(base, model, exam, steps, at, *, capitals=False, lr=1e-3, batch_size=6, seed=0, parts=1, most_tokens=64):
    """Train on the appointments; yield each `Step`, and after the steps in ``at``, from 0, the model's `Sheet`.

    With 60 steps of batch size 6 each of the 360 training sentences comes once. A sheet is yielded as far as it is
    filled, in so many ``parts``: Stop then waits for a part. Other arguments as `sit` and `training_steps`.
    """
    examples = [appointments.example(one, capitals) for one in appointments.training()]
    if 0 in at:
        yield from _in_parts(base, model, exam, capitals, parts, most_tokens)
    for step in training_steps(
        model, base.batches(examples, batch_size, seed), base.loss_fn, lr=lr, steps=steps, seed=seed
    ):
        yield step
        if step.index in at:
            yield from _in_parts(base, model, exam, capitals, parts, most_tokens)


def _in_parts(base, model, exam, capitals, parts, most_tokens):
    answers, seconds = [], 0.0
    edges = np.linspace(0, len(exam), parts + 1).astype(int)
    for start, end in zip(edges, edges[1:], strict=False):
        part = sit(base, model, exam[start:end], capitals=capitals, most_tokens=most_tokens)
        answers, seconds = [*answers, *part.answers], seconds + part.seconds
        yield grade_sheet(exam, answers, seconds, capitals)


class SheetRun:
    """What a run gathered: its `History`, its whole sheets ``{step: Sheet}``, and the one being filled, or None."""

    def __init__(self, exam, sheets=None):
        self.exam, self.history, self.sheets = exam, History(), dict(sheets or {})
        self.filling = self.sheets[max(self.sheets)] if self.sheets else None

    def add(self, piece):
        """Take a step, or a sheet as far as it is filled."""
        if not isinstance(piece, Sheet):
            self.history.add(piece)
            return
        self.filling = piece
        if len(piece) == len(self.exam):
            self.sheets[len(self.history)] = piece

    def __len__(self):
        return len(self.history)
