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
    "both_factors_zero": Words(
        "both factors are zero, so no factor gets a gradient and nothing would train",
        "Draw them anew: layer.reset_parameters().",
    ),
    "alpha_zero": Words(
        "{why}, so no factor gets a gradient and nothing would train", "Use an alpha such as the rank: set_alpha(rank)."
    ),
    "no_gradient_reaches_adapter": Words(
        "{whose} gives a number that carries no gradient, so nothing could be learnt from it",
        "Compute it from the model's output by torch, without .detach(), .item(), .numpy(), argmax or torch.no_grad(). "
        "Under gradient checkpointing with use_reentrant=True, use False, or let the inputs require gradients.",
    ),
    "base_not_frozen": Words(
        "{count} parameters of the base require gradients, such as {first!r}: they train, and no adapter file will "
        "hold them",
        "Freeze them (requires_grad_(False)), and name modules that should train in modules_to_save.",
    ),
    "labels_all_masked": Words(
        "Every label of this batch is {ignored}, which means ignored, so the mean is over nothing",
        "Look at how the labels are made: a prompt that fills the whole length leaves no answer to learn from.",
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
