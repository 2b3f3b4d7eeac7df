"""Intruders: shrink the directions that fine-tuning brought in, and watch what is learned and what is forgotten."""

from functools import cache

import numpy as np

from lora_teach.bases import evaluate, load_language_adapter, load_name_gpt
from lora_teach.datasets import names
from lora_teach.live.explore import View, explore
from lora_teach.measure.learned import Shrinker
from lora_teach.measure.results import load_result
from lora_teach.measure.strength import strength_path
from lora_teach.pictures.intruders import drawing as plots
from lora_teach.plots import show
from lora_teach.utils.threads import one_thread

FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0)
LETTERS_KNOWN = 300  # English test names that the meter reads: all 1,450 would take four times as long
EPSILONS = [0.4, 0.5, 0.6, 0.7, 0.8]


class Intruders(View):
    """A slider over the intruders' factor and one over ε, for the shipped adapter of a language; computed live.

    Args:
        guess: The learner's loss on English with the intruders at ×0.75.
        language: One with a shipped adapter.
        k: How many leading singular vectors of each tuned weight are looked at.
        result: What ``load_result("learned")`` gives, for the twin; None loads it.
    """

    def __init__(self, guess=None, language="Zulu", k=10, result=None):
        self.language, self.guess, self.k, self._result = language, guess, k, result
        self.lists = names.load(language).test, names.load("English").test[:LETTERS_KNOWN]
        self._base, self._tuned = load_name_gpt(), load_language_adapter(load_name_gpt(), language)
        self.shrinker, self.path, self.losses = cache(self.shrinker), cache(self.path), cache(self.losses)
        with one_thread():
            self.base = [evaluate(self._base, some) for some in self.lists]
            self.dial = strength_path(self._tuned, FACTORS, *self.lists)
        self.drawn = plots.draw(self.base, self.dial[-1], self.dial, language, guess)
        self.picture = self.drawn.picture

    def shrinker(self, epsilon):
        """The `Shrinker` for an ε, made once."""
        return Shrinker(self._base, self._tuned, epsilon, self.k)

    def path(self, epsilon):
        """``[(new language, English), …]`` for FACTORS."""
        return [self.losses(factor, epsilon) for factor in FACTORS]

    def losses(self, factor, epsilon):
        """``(loss on the new language, on English)`` with the intruders at this factor, in nats a letter."""
        with one_thread():
            return tuple(self.shrinker(epsilon).path([factor], *self.lists)[0])

    def __call__(self, factor, epsilon):
        """Stand at this factor of the intruders' singular values, and count intruders with this ε."""
        new, old = self.losses(factor, epsilon)
        dial = [float(np.interp(factor, FACTORS, column)) for column in zip(*self.dial, strict=True)]
        meters = {"learned": self.base[0] - new, "forgotten": old - self.base[1]}
        self.drawn.show(meters, self.path(epsilon), {"intruders": (new, old), "update": dial})
        counts = self.shrinker(epsilon).counts
        guessed = f" Your guess for English: {self.guess:.2f}." if self.guess and factor == 0.75 else ""
        return (
            f"ε = {epsilon:g}: {sum(counts.values())} intruders among the {self.k * len(counts)} leading directions. "
            f"At ×{factor:g} the loss is {new:.2f} nats on {self.language} and {old:.2f} on English; with the whole "
            f"update at ×{factor:g} about {dial[0]:.2f} and {dial[1]:.2f}.{guessed}"
        )

    def twin(self):
        """Full fine-tuning and LoRA at every rank, from the stored runs, for a saved notebook."""
        result = self._result or load_result("learned")
        settings, results = result["settings"], result["results"][self.language]
        both, counts = {}, {}
        for name, entry in results["contenders"].items():
            runs = entry["runs"]
            both[name] = {way: [run[f"{way} shrunk"] for run in runs] for way in plots.LOOKS}
            counts[name] = np.mean([sum(run["intruders"][str(settings["epsilon"])]) for run in runs])
        back = {name: self._exchange(one) for name, one in both.items()}
        said = "; ".join(f"{name} {new:+.2f} and {old:+.2f}" for name, (new, old) in back.items())
        return show(
            plots.multiples(both, counts, results["base"], self.language),
            f"Intruders (ε = {settings['epsilon']:g}) at ×0.75 change the loss on {self.language} and on English by: "
            f"{said}.",
        )

    @staticmethod
    def _exchange(both):
        path = np.mean(both["intruders"], axis=0)  # (factors, 2)
        return (path[FACTORS.index(0.75)] - path[-1]).round(2) + 0.0  # no -0.00

    @classmethod
    def example(cls, guess=None):
        """The explorer as notebook 11 shows it."""
        view = cls(guess)
        return explore(
            view, factor=(0.0, 1.0, 0.75, 0.05), epsilon=(EPSILONS, 0.5), labels={"epsilon": "ε"}, twin=view.twin()
        )
