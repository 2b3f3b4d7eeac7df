"""Spectra: how many directions of a finished update hold most of it, for full fine-tuning and LoRA."""

import numpy as np

from lora_teach.live.explore import View, explore
from lora_teach.measure.results import load_result
from lora_teach.pictures.learned_spectra import drawing as plots
from lora_teach.plots import show

KINDS = {
    "all layers": "",
    "q": "q_proj",
    "k": "k_proj",
    "v": "v_proj",
    "o": "o_proj",
    "MLP up": "up_proj",
    "MLP down": "down_proj",
}


class Spectra(View):
    """A slider over directions, and buttons for the kind of layer.

    Args:
        guess: How many directions, the learner thinks, hold 90 % of full fine-tuning's update.
        result: What ``load_result("learned")`` gives; None loads it.
    """

    def __init__(self, guess=None, result=None):
        result = result or load_result("learned")
        self.language = result["settings"]["mapped"]["language"]
        contenders = result["results"][self.language]["contenders"]
        self._spectra = {name: entry["spectra"] for name, entry in contenders.items()}
        self.guess = guess
        largest = max(max(sigma) for spectra in self._spectra.values() for sigma in spectra.values())
        self.drawn = plots.draw(list(self._spectra), largest, guess)
        self.picture = self.drawn.picture

    def values(self, kind) -> dict:
        """``{contender: σ}``, means over the layers of a kind: arrays (rank,)."""
        return {name: np.mean(self._chosen(name, kind), axis=0) for name in self._spectra}

    def held(self, kind) -> dict:
        """``{contender: share of the squares that 1, 2, … directions hold}``, means over the layers: arrays (rank,)."""
        return {name: np.mean(self._shares(name, kind), axis=0) for name in self._spectra}

    def count(self, kind) -> dict:
        """``{contender: how many directions hold 90 %}``, of the mean over the layers."""
        return {name: int((shares < plots.SHARE - 1e-9).sum()) + 1 for name, shares in self.held(kind).items()}

    def __call__(self, directions, layers):
        """Stand at this many directions, in layers of this kind."""
        held = self.held(layers)
        self.drawn.show(self.values(layers), held, directions)
        said = ", ".join(f"{name} {shares[min(directions, len(shares)) - 1]:.0%}" for name, shares in held.items())
        needs = self.count(layers)["full"]
        guessed = f" Your guess: {self.guess:g}." if self.guess else ""
        return (
            f"{self.language}, {layers}: the {directions} leading directions hold {said} of the update. "
            f"90 % of full fine-tuning's takes {needs}.{guessed}"
        )

    def twin(self):
        """All kinds of layer, for a saved notebook."""
        kinds = list(KINDS)[1:]
        counts = {kind: self.count(kind) for kind in kinds}
        needs = [count["full"] for count in counts.values()]
        return show(
            plots.multiples({kind: self.held(kind) for kind in kinds}, counts),
            f"Updates for {self.language} names. Full fine-tuning's takes {min(needs)} to {max(needs)} of 96 "
            "directions to hold 90 % of its squares (marks). LoRA's can have no more than its rank, and fills it "
            "unevenly.",
        )

    def _chosen(self, name, kind):
        return [sigma for layer, sigma in self._spectra[name].items() if layer.endswith(KINDS[kind])]

    def _shares(self, name, kind):
        squares = np.square(self._chosen(name, kind))  # (layers, rank)
        return squares.cumsum(1) / squares.sum(1, keepdims=True)

    @classmethod
    def example(cls, guess=None):
        """The explorer as notebook 11 shows it."""
        view = cls(guess)
        return explore(view, directions=(1, 96, 8), layers=list(KINDS), twin=view.twin())
