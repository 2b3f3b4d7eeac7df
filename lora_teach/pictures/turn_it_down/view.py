"""Turn it down: scale a finished update and see what the new language loses and English gets back."""

from lora_teach.live.explore import View, explore
from lora_teach.measure.results import load_result
from lora_teach.pictures.turn_it_down import drawing as plots

import numpy as np


class TurnItDown(View):
    """A strength slider over LoRA's update, with the scaled full update beside it.

    Args:
        guess: The learner's loss on English at strength 0.75.
        yours: A run of the learner's own, ``{strength: (new language, English)}``.
        result: What ``load_result("turn_it_down")`` gives; None loads it.
    """

    def __init__(self, guess=None, yours=None, result=None):
        result = result or load_result("turn_it_down")
        self.language, self.strengths = result["settings"]["language"], result["settings"]["strengths"]
        self.paths = {name: np.array(entry["paths"]) for name, entry in result["results"].items()}
        self.guess = guess
        self.drawn = plots.draw(self.paths, self.strengths, self.language, guess, yours)
        self.picture = self.drawn.picture

    def losses(self, strength) -> dict:
        """``{contender: (new language, English)}`` at a strength, the means of the seeds, in nats a letter."""
        place = self.strengths.index(strength)
        return {name: tuple(path.mean(0)[place].tolist()) for name, path in self.paths.items()}

    def __call__(self, strength):
        """Stand at this strength."""
        losses = self.losses(strength)
        self.drawn.move(strength, losses)
        said = "; ".join(
            f"{name} {new:.2f} nats on {self.language}, {old:.2f} on English" for name, (new, old) in losses.items()
        )
        guessed = f" Your guess for English: {self.guess:.2f}." if self.guess and strength == 0.75 else ""
        return f"At ×{strength:g}: {said}. {self._trade(strength)}{guessed}"

    def _trade(self, strength) -> str:
        """What the first contender pays and gets against strength 1."""
        if strength == 1:
            return "That is the update as it was trained."
        name = next(iter(self.paths))
        (new, old), (new1, old1) = self.losses(strength)[name], self.losses(1.0)[name]
        words = [
            f"{abs(change):.2f} {'worse' if change > 0 else 'better'} on {where}"
            for change, where in ((new - new1, self.language), (old - old1, "English"))
        ]
        return f"Against ×1, {name} is {words[0]} and {words[1]}."

    @classmethod
    def example(cls, guess=None, yours=None):
        """The explorer as notebook 04 shows it."""
        view = cls(guess, yours)
        return explore(view, strength=(view.strengths, 0.75))
