"""How much of what was held out does a model answer right, to the letter?"""

import copy

from lora_teach.model import LoRAModel


def grade(base, model, examples, **options):
    """Return ``[(prompt, answer, right answer), …]`` of the model's greedy answers.

    Args:
        base: A `TextBase` or a `NamesBase`.
        model: ``base.model``, or a LoRAModel or PEFT's model around it or around a copy.
        examples: From ``base.read``, with their completions.
        **options: Those of ``base.answer``.
    """
    asker = copy.copy(base)
    asker.model = model.base_model if isinstance(model, LoRAModel) else model  # a TextBase lets its own model write
    answers = asker.answer(model, list(map(_asked, examples)), **options)
    return [
        (base.prompt_of(_asked(example)), answer, base.completion_of(example))
        for example, answer in zip(examples, answers, strict=True)
    ]


def _asked(example):
    """Return an example without its completion."""
    return (example[0], "") if isinstance(example, tuple) else example[:-1]


def right(graded):
    """Return the share of `grade`'s answers that are right to the letter, 0 to 1."""
    return sum(answer == due for _, answer, due in graded) / len(graded)
