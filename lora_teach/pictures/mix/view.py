"""Mix: a slider from one adapter to another; the names, and what the mixture still knows of each language."""

from numbers import Real

import numpy as np

from lora_teach.bases import gumbel_noise, load_language_adapter, load_name_gpt
from lora_teach.datasets import names
from lora_teach.live.explore import Explorer, View, explore
from lora_teach.measure.judging import TEMPERATURE
from lora_teach.measure.writing import Writer
from lora_teach.pictures.mix import drawing as plots
from lora_teach.pictures.mix.numbers import mixture_losses, share_of_gain, tastes
from lora_teach.plots import Still, show

STEP = 0.05  # of the slider
COLUMNS = [0.0, 0.25, 0.5, 0.75, 1.0]  # of the saved picture
SHOWN = 8  # names
SEED = 74  # as in notebook 00
LOWEST, HIGHEST = 1.0, 6.0  # nats: a guess beyond would squeeze the picture


class Mix(View):
    """Eight names and both losses for ``(1 − share) · first adapter + share · second adapter``.

    Args:
        guess: What the learner expects of half and half: (nats on the first language, nats on the second).
        first: A language that has an adapter.
        second: Another.

    Raises:
        TypeError: A guess that is not two numbers.
        ValueError: One of them is below 1 or above 6 nats.
    """

    def __init__(self, guess=None, first: str = "Finnish", second: str = "Zulu"):
        self.guess, self.languages = _checked(guess), (first, second)
        model = load_language_adapter(load_language_adapter(load_name_gpt(), first), second)
        lists = [names.load(language).test for language in self.languages]
        self.shares = [step * STEP for step in range(round(1 / STEP) + 1)]
        self.base, *path = mixture_losses(model, [None, *map(self.weights, self.shares)], lists)
        self.path = np.array(path)  # (shares, 2)
        self._writer, self._noise = Writer(model), TEMPERATURE * gumbel_noise(SHOWN, SEED)
        signs = (plots.FIRST, plots.SECOND)
        self._judges = {
            sign: names.Judge(names.load(name).train) for sign, name in zip(signs, self.languages, strict=True)
        }
        plane = plots.Plane(self.languages, self.base, self.shares, self.path, self.guess)
        base = sum(parameter.numel() for parameter in model.base_model.parameters())
        adapters = [sum(p.numel() for p in model.adapters[name].parameters()) for name in self.languages]
        self._drawing = plane, base, adapters
        self.drawn = plots.draw(*self._drawing, rows=SHOWN // 2)
        self.picture = self.drawn.picture

    def weights(self, share: float) -> dict[str, float]:
        """What ``set_adapter`` is given at this share of the second adapter."""
        return dict(zip(self.languages, (1 - share, share), strict=True))

    def losses(self, share: float) -> tuple[float, float]:
        """Nats a letter on the test names of the first language and of the second."""
        return tuple(self.path[round(share / STEP)].tolist())

    def gains(self, share: float) -> tuple[float, float]:
        """For each language the share of its own adapter's gain over the base."""
        own = (self.path[0][0], self.path[-1][1])
        return tuple(map(share_of_gain, self.losses(share), self.base, own))

    def written(self, share: float) -> list[plots.Written]:
        """The eight names, each with its letters' judges."""
        mixed = self._writer.mix(self.weights(share), self._noise)
        return [plots.Written(name, tastes(name, self._judges)) for name in mixed]

    def __call__(self, share: float) -> str:
        """Mix: this share of the second adapter, the rest of the first."""
        self.drawn.show(share, self.written(share))
        weights = " + ".join(f"{weight:.2f} × {name}" for name, weight in self.weights(share).items())
        guessed = ""
        if self.guess and round(share / STEP) == round(0.5 / STEP):
            guessed = f" Your guess: {self.guess[0]:.2f} and {self.guess[1]:.2f}."
        return f"{weights}: {self._knows(share)}.{guessed}"

    def twin(self) -> Still:
        """Five mixtures side by side over the squares and the plane: what a saved notebook shows."""
        sentence = f"The same eight throws of the dice from {' to '.join(self.languages)}, areas to scale. "
        sentence += f"Half and half: {self._knows(0.5)}."
        columns = {share: self.written(share) for share in COLUMNS}
        return show(plots.draw_twin(*self._drawing, columns), sentence)

    def _knows(self, share):
        words = []
        for name, loss, base, gain in zip(
            self.languages, self.losses(share), self.base, self.gains(share), strict=True
        ):
            what = f"{gain:.0%} of its adapter's gain" if loss <= base else f"worse than the base's {base:.2f}"
            words.append(f"{loss:.2f} nats on {name} names, {what}")
        return "; ".join(words)

    @classmethod
    def example(cls, guess=None) -> Explorer:
        """The explorer as notebook 06 shows it."""
        view = cls(guess)
        start = "Finnish → Zulu"
        return explore(view, share=(0.0, 1.0, 0.5, STEP), labels={"share": start}, twin=view.twin())


def _checked(guess):
    if guess is None:
        return None
    numbers = isinstance(guess, (tuple, list)) and len(guess) == 2
    if not numbers or any(isinstance(part, bool) or not isinstance(part, Real) for part in guess):
        raise TypeError(f"guess={guess!r} is not two losses. Give (nats on the first, nats on the second), or None.")
    if not all(LOWEST <= part <= HIGHEST for part in guess):
        raise ValueError(f"guess={guess!r}: a loss here lies between {LOWEST:g} and {HIGHEST:g} nats a letter.")
    return tuple(map(float, guess))
