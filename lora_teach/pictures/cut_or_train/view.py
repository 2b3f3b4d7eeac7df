"""Cut or train: cut a finished fine-tuning down to rank r, or train at rank r from the start."""

from math import exp

from lora_teach.live.explore import View, explore
from lora_teach.measure.results import load_result
from lora_teach.pictures.cut_or_train import drawing as plots
from lora_teach.plots import show


class CutOrTrain(View):
    """A rank slider, and a box to tick when the guess is made: then the third line appears.

    Args:
        guess: The learner's third line: a loss for rank 1, ``{rank: loss}``, or one loss a rank.
        yours: Points of the learner's own run, ``{way: {rank: loss}}``.
        result: What ``load_result("cut_or_train")`` gives; None loads it.
    """

    def __init__(self, guess=None, yours=None, result=None):
        result = result or load_result("cut_or_train")
        self.results, self.language = result["results"], result["settings"]["language"]
        self.ranks = result["settings"]["ranks"]
        self._guess, self._yours = plots.guesses(guess, self.ranks), yours
        self.drawn = plots.draw(self.results, self.ranks, self._guess, yours=yours)
        self.picture = self.drawn.picture

    def losses(self, rank) -> dict:
        """The three losses at a rank: ``{way: nats a letter}``."""
        place = self.ranks.index(rank)
        return {way: losses[place] for way, losses in self.results["lines"].items()}

    def __call__(self, rank, third_line):
        """Stand at this rank, with the third line or without."""
        losses = self.losses(rank)
        self.drawn.here.set_xdata([rank, rank])
        for way, dot in self.drawn.dots.items():
            dot.set_data([rank], [losses[way]])
            dot.set_visible(third_line or way != "trained")
        for artist in self.drawn.trained:
            artist.set_visible(third_line)
        said = (
            f"{self.language}, rank {rank}: the tuned weights cut to it {_aloud(losses['weights cut'])}, "
            f"the full update cut to it {_aloud(losses['update cut'])}, trained at it "
        )
        guessed = f" Your guess: {self._guess[rank]:.2f}." if rank in self._guess else ""
        return said + (f"{_aloud(losses['trained'])}." if third_line else "…?") + guessed

    def twin(self):
        """All three lines, for a saved notebook."""
        drawn = plots.draw(self.results, self.ranks, self._guess, yours=self._yours)
        one = self.losses(self.ranks[0])
        drawn.here.set_visible(False)
        return show(
            drawn.picture,
            f"At rank {self.ranks[0]} the tuned weights are worth {_aloud(one['weights cut'])}, the cut update "
            f"{_aloud(one['update cut'])}, and an update that was trained at that rank {_aloud(one['trained'])}.",
        )

    @classmethod
    def example(cls, guess=None, yours=None):
        """The explorer as notebook 04 shows it."""
        view = cls(guess, yours)
        return explore(view, rank=view.ranks, third_line=False, twin=view.twin())


def _aloud(loss: float) -> str:
    return f"{loss:.2f} ({exp(loss):.0f} sides)"
