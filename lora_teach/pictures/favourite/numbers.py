"""What a run with a reward writes on its way: the same throws of the dice after every few updates, and its scores."""

from dataclasses import dataclass

from lora_teach.bases import NameGPT, gumbel_noise, sample_names
from lora_teach.loop.rewards import Score
from lora_teach.measure.rewarding import rewarded

SHOWN = 12  # names
UPDATES, EVERY, NAMES, RANK, LR = 40, 2, 32, 8, 3e-3  # of a run that takes some seconds
NOISE_SEED = 5


@dataclass(frozen=True)
class Run:
    """One run, with an entry for each update but the names', which have one for each of ``updates``.

    Attributes:
        updates: Where names were taken, from 0.
        written: The names there, a list of ``SHOWN`` each.
        scores: A `Score` for each update's own names, before it.
    """

    updates: list[int]
    written: list[list[str]]
    scores: list[Score]

    def score(self, update: int) -> Score:
        """Return the score of the names that this update was learnt from, or, at the end, of the last ones."""
        return self.scores[min(update, len(self.scores) - 1)]

    @property
    def end(self) -> Score:
        """The score of the last update's names."""
        return self.scores[-1]


def favourite_run(base: NameGPT, kl: float, seed: int = 0) -> Run:
    """Let a copy of NameGPT learn to please the Finnish judge; ``kl`` is the penalty's weight, in rewards a nat."""
    noise, updates, names = gumbel_noise(SHOWN, NOISE_SEED), [], []

    def watch(update, model, rollouts):
        if update % EVERY == 0:
            updates.append(update)
            names.append(sample_names(model, noise))

    options = {"lr": LR, "kl": kl, "updates": UPDATES, "count": NAMES, "seed": seed}
    _, rollouts = rewarded(base, RANK, watch=watch, **options)
    return Run(updates, names, rollouts.history)
