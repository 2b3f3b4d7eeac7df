"""The tokens of examples as a base makes them, and which of them the loss counts."""

from dataclasses import dataclass

from lora_teach.datasets.chats import IGNORED
from lora_teach.datasets.names import ALPHABET


@dataclass(frozen=True)
class Marked:
    """One example: its ``pieces``, a text for each token to be predicted, and which of them ``counts``."""

    pieces: list
    counts: list

    @property
    def counted(self):
        """How many tokens the loss counts."""
        return sum(self.counts)


def marked(base, example):
    """Return an example as the loss sees it: every token that is to be predicted, and whether it counts.

    Args:
        base: A `TextBase` or a `NamesBase`.
        example: From ``base.read``, with its completion.
    """
    (batch,) = base.batches([example], 1, seed=0)
    if isinstance(batch, tuple):  # NameGPT's letters: inputs and targets (1, seq), shifted by one already
        inputs, targets = (side[0].tolist() for side in batch)
        ids = [*inputs[1:], targets[-1]]
        return Marked([ALPHABET[token] for token in ids], [target != IGNORED for target in targets])
    ids, labels = (batch[key][0].tolist() for key in ("input_ids", "labels"))
    return Marked([base.tokenizer.decode([token]) for token in ids], [label != IGNORED for label in labels])
