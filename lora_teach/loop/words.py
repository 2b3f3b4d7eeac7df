"""The words for what keeps a model from training: `train` raises them, and the doctor reports them."""

from typing import NamedTuple


class Words(NamedTuple):
    """``what`` is wrong, with places for numbers, and its ``cure``."""

    what: str
    cure: str


WORDS = {  # fault -> its words
    "nothing_trainable": Words(
        "no parameter requires a gradient, so nothing would train", "Choose an adapter: model.set_adapter(name)."
    ),
    "merged_while_training": Words(
        "the model is merged, so its adapters are not in use", "Call model.unmerge() before training."
    ),
    "optimizer_misses_adapters": Words(
        "the optimiser lacks {lacking} of {trainable} trainable parameters: it was probably built before the adapters",
        "Build it afterwards, from model.trainable_parameters().",
    ),
    "non_finite": Words(
        "{what}",
        "Likely causes: a learning rate that is too high (try a tenth), an alpha that is too large, float16 without "
        "loss scaling (use bfloat16), or nan in the data.",
    ),
}


def said(fault, **numbers):
    """Return the sentence for ``fault``: what is wrong, with its numbers, and the cure."""
    words = WORDS[fault]
    return f"{words.what.format(**numbers)}. {words.cure}"
