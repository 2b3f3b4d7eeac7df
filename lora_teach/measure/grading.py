"""How much of what was held out does a model answer right, to the letter, and how sure is that?"""

import copy
from math import sqrt
from statistics import mean, stdev

from lora_teach.model import LoRAModel

# Student's t by degrees of freedom: within mean ± t·s/√n the mean of all seeds lies in 95 % of cases.
STUDENT_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def split_answer(example):
    """Return ``(what is asked, the right answer)`` of an example that a base has read with its completion."""
    if isinstance(example, tuple):  # of a NamesBase: how a name begins, and the rest
        begins, rest = example
        return (begins, ""), rest
    return example[:-1], example[-1]["content"]


def grade(base, model, examples, **options):
    """Return ``[(prompt, answer, right answer), …]`` of the model's greedy answers.

    Args:
        base: A `TextBase` or a `NamesBase`.
        model: ``base.model``, or a LoRAModel or PEFT's model around it or around a copy.
        examples: From ``base.read``, with their completions.
        **options: Those of ``base.answer``.
    """
    asked, right = zip(*map(split_answer, examples), strict=True)
    asker = copy.copy(base)
    asker.model = model.base_model if isinstance(model, LoRAModel) else model  # a TextBase lets its own model write
    answers = asker.answer(model, list(asked), **options)
    return [(base.prompt_of(one), said, due) for one, said, due in zip(asked, answers, right, strict=True)]


def share_right(base, model, examples, **options):
    """Return the share of `grade`'s answers that are right to the letter, 0 to 1."""
    graded = grade(base, model, examples, **options)
    return sum(said == due for _, said, due in graded) / len(graded)


def interval(scores):
    """Return ``(mean, half)``: the mean over seeds, and half the width of its 95 % interval by Student's t.

    Args:
        scores: One a seed, 2 to 10 of them.

    Raises:
        ValueError: One score, or more than ten.

    >>> middle, half = interval([0.75, 0.72, 0.78])
    >>> f"{middle:.2f} ± {half:.2f}"
    '0.75 ± 0.07'
    """
    if len(scores) - 1 not in STUDENT_T:
        raise ValueError(f"{len(scores)} scores give no interval here. Use 2 to {max(STUDENT_T) + 1} seeds.")
    return mean(scores), STUDENT_T[len(scores) - 1] * stdev(scores) / sqrt(len(scores))
