"""Direct preference optimisation (DPO): learning from pairs of which one is preferred, without a judge or a reward.

preferences = Preferences(model, [("aino", "ainsley"), …], names.encode, beta=0.1)
train(model, preferences, preferences.loss, lr=1e-3, steps=100)
preferences.implicit_rewards(["aino", "kim"])
"""

from lora_teach.loop.rewards import IGNORED, check_weight, reference_log_probs, token_log_probs
from lora_teach.utils.evaluating import evaluating
from lora_teach.utils.validation import check_callable, check_count, check_seed

import torch
import torch.nn.functional as F


class Preferences:
    """Batches of pairs (preferred, other), for `lora_teach.training_steps` with `loss`.

    The loss is ``−log σ(r(preferred) − r(other))``, the mean over the pairs (Rafailov et al. 2023, eq. 7), with the
    **implicit reward** ``r(text) = β · (log π(text) − log π_ref(text))``. The reference is the same model with its
    adapter off; what it thinks of the texts is computed once.

    Args:
        model: A LoRAModel, or any module that gives logits, or an output with ``.logits``.
        pairs: A list of (preferred, other), two texts each.
        encode: ``encode(texts) -> (inputs, targets)``, int64 ``(batch, seq)`` each, padded on the right; a target of
            -100 does not count, such as a prompt's. For names `lora_teach.datasets.names.encode`.
        beta: The larger, the closer to the reference: 0.1 is usual.
        batch_size: Pairs in a batch; the last one of a pass may be smaller.
        reference: A module in place of the model with its adapter off; needed for full fine-tuning.
        seed: Decides the order, which is the same in every pass.

    Raises:
        ValueError: No pairs, one that is not two texts, or two equal ones, of which nothing can be learnt; a beta that
            is not above 0; no adapter and no reference.
    """

    def __init__(self, model, pairs, encode, *, beta=0.1, batch_size=32, reference=None, seed=0):
        self.beta, size = check_weight("beta", beta), check_count("batch_size", batch_size)
        self.model, self.reference = model, reference
        self.encode = check_callable("encode", encode, "lora_teach.datasets.names.encode")
        pairs = _checked(pairs)
        order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(check_seed(seed))).tolist()
        shuffled = [pairs[index] for index in order]
        self._batches = [self._batch(shuffled[start : start + size]) for start in range(0, len(pairs), size)]

    def __iter__(self):
        return iter(self._batches)

    def __len__(self):
        return len(self._batches)

    def _batch(self, pairs):
        """Return the preferred texts over the others, (2 · pairs, seq), and what the reference thinks of them."""
        preferred, others = zip(*pairs, strict=True)
        inputs, tokens, log_probs = self._by_reference([*preferred, *others])
        return inputs, {"tokens": tokens, "reference": log_probs}

    def loss(self, output, targets):
        """Return the mean loss of a batch of pairs, ln 2 = 0.69 nats before anything is learnt."""
        rewards = self._rewards(output, targets["tokens"], targets["reference"])  # (2 · pairs,)
        preferred, others = rewards.chunk(2)
        return -F.logsigmoid(preferred - others).mean()

    def implicit_rewards(self, texts):
        """Return β · (log π − log π_ref) of each text, in nats: a list; what the model has learnt to prefer."""
        inputs, tokens, old = self._by_reference(list(texts))
        with evaluating(self.model):
            return self._rewards(self.model(inputs), tokens, old).tolist()

    def _rewards(self, output, tokens, old):
        return self.beta * (token_log_probs(output, tokens).sum(1) - old)  # (batch,)

    def _by_reference(self, texts):
        """Return these texts' inputs and targets, and their log-probabilities before training, ``(batch,)``."""
        device = next(self.model.parameters()).device
        inputs, tokens = (side.to(device) for side in self.encode(texts))  # (batch, seq) each
        if not (tokens != IGNORED).any(1).all():
            raise ValueError("a text has no target that counts, so it has no probability. Check encode.")
        return inputs, tokens, reference_log_probs(self.model, self.reference, inputs, tokens).sum(1)


def _checked(pairs):
    """Return the pairs as a list of tuples of two different texts."""
    pairs = [tuple(pair) if not isinstance(pair, str) else (pair,) for pair in pairs]
    if not pairs:
        raise ValueError("there are no pairs. Give a list of (preferred, other) with at least one.")
    for pair in pairs:
        if len(pair) != 2:
            raise ValueError(f"{pair!r} is no pair. Give (preferred, other), two texts.")
        if pair[0] == pair[1]:
            raise ValueError(f"both texts of a pair are {pair[0]!r}: neither is preferred. Leave it out.")
    return pairs
