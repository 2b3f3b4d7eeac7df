"""Learning against forgetting: scale each contender's update, and see who has kept more English for as much learned."""

from math import exp

from lora_teach.live.explore import View, explore
from lora_teach.measure.results import load_result
from lora_teach.pictures.forgetting import drawing as plots
from lora_teach.pictures.forgetting.equal_learning import (
    WAYS,
    Band,
    apart,
    at_checkpoint,
    common_level,
    english_by_contender,
    finished,
    lowest,
)
from lora_teach.plots import show

import numpy as np


class Forgetting(View):
    """Language buttons, and a strength for every contender's finished update.

    Args:
        guess: The learner's loss on English for the first contender, in the first language, where all are scaled to
            have learned equally much.
        yours: A run of the learner's own, from `lora_teach.pictures.forgetting.numbers.own_run`.
        result: What ``load_result("forgetting")`` gives; None loads it.
    """

    def __init__(self, guess=None, yours=None, result=None):
        result = result or load_result("forgetting")
        self.strengths = result["settings"]["strengths"]
        self.entries = {name: entry for name, entry in result["results"].items() if "full" in finished(entry)}
        self.guess, self.yours = guess, yours
        self.first, self._language = next(iter(self.entries)), None
        if yours is not None and yours["language"] not in self.entries:
            raise ValueError(
                f"your run is on {yours['language']}, and the results are on {', '.join(self.entries)}. Train on one "
                "of these."
            )
        self.equal = {name: _equal(entry) for name, entry in self.entries.items()}
        self.drawn = plots.draw(list(self.paths(self.first)), guess)
        self.picture, self.contender = self.drawn.picture, next(iter(self.paths(self.first)))

    def paths(self, language) -> dict:
        """``{contender: (seeds, strengths, 2)}``: the losses on the new language and on English."""
        return {name: _array(runs, "strength") for name, runs in finished(self.entries[language]).items()}

    def training(self, language) -> dict:
        """``{contender: a path a seed}``: the losses on the new language and on English while it was trained."""
        return {name: [run["training"] for run in runs] for name, runs in finished(self.entries[language]).items()}

    def losses(self, language, strength) -> dict:
        """``{contender: (new language, English)}`` at a strength, the means of the seeds, in nats a letter."""
        at = self.strengths.index(strength)
        losses = {name: tuple(path.mean(0)[at].tolist()) for name, path in self.paths(language).items()}
        if self._yours(language):
            losses["yours"] = tuple(self.yours["strength"][at])
        return losses

    def __call__(self, language, strength):
        """Stand at this strength in this language."""
        if language != self._language:
            yours = self.yours["strength"] if self._yours(language) else None
            self.drawn.enter(
                language, self.paths(language), self.strengths, self.equal[language], yours, language == self.first
            )
            self._language = language
        losses = self.losses(language, strength)
        self.drawn.move(losses)
        return self.sentence(language, strength, losses)

    def sentence(self, language, strength, losses) -> str:
        """Where full fine-tuning and LoRA stand at a strength, and who forgets least where all learned as much."""
        new, english = losses["full"]
        said = f"×{strength:g}: full fine-tuning {_die(new)} on {language}, English {_die(english)}"
        others = {name: pair for name, pair in losses.items() if name not in ("full", "yours")}
        if others:
            near = min(others, key=lambda name: others[name][1])
            new, english = others[near]
            said += f"; of the others {near} has kept most English, {english:.2f}, with {language} at {new:.2f}"
        if "yours" in losses:
            said += "; your own run {:.2f} and {:.2f}".format(*losses["yours"])
        guessed = f" Your guess for {self.contender}: {self.guess:.2f}." if self._guessed(language) else ""
        return f"{said}. {self._equal_learning(language, 'strength')}.{guessed}"

    def twin(self):
        """The picture for a saved notebook: a row a language, a panel a contender, and the verdicts in words."""
        rows = {
            name: (
                self.paths(name),
                self.strengths,
                self.training(name),
                self.equal[name],
            )
            for name in self.entries
        }
        ways = [self._learned(name) + " " + self._both_ways(name) for name in self.entries]
        return show(
            plots.draw_twin(rows, self.guess),
            "Solid: the finished update from ×0, the base, to ×1.5, with a mark a seed at ×1. Dotted: the way through "
            "training. +: English where all are scaled to have learned equally much. " + " ".join(ways),
        )

    def _learned(self, language) -> str:
        learned = lowest({name: new for name, (new, _) in at_checkpoint(self.entries[language]).items()})
        return f"{language}: most is learned by {learned[0]}" + (
            f" ({len(learned) - 1} others undecided)." if learned[1:] else "."
        )

    def _both_ways(self, language) -> str:
        return " ".join(f"{self._equal_learning(language, way, False)}." for way in ("strength", "training"))

    def _equal_learning(self, language, way, numbers=True) -> str:
        """Who has kept more English than full fine-tuning where all have learned equally much; see `apart`."""
        level, bands = self.equal[language][way]
        full, groups = bands["full"], {"less": [], "more": [], "undecided": []}
        for name in sorted(bands, key=lambda name: bands[name].mean):
            if name != "full":
                word = (
                    "undecided" if not apart(bands[name], full) else "less" if bands[name].mean < full.mean else "more"
                )
                groups[word].append(f"{name} {bands[name].mean:.2f}" if numbers else name)
        said = {"less": "less is forgotten by", "more": "more by", "undecided": "undecided:"}
        listed = [f"{said[word]} {', '.join(names) or 'nobody'}" for word, names in groups.items()]
        if not groups["undecided"]:
            listed.pop()
        elif not numbers:
            listed[-1] = f"{len(groups['undecided'])} undecided"
        done = {"strength": "Scaled", "training": "Trained"}[way]
        return f"{done} to {level:.2f} on {language}, full has English at {full.mean:.2f}; {'; '.join(listed)}"

    def _guessed(self, language) -> bool:
        return self.guess is not None and language == self.first

    def _yours(self, language) -> bool:
        return self.yours is not None and self.yours["language"] == language

    @classmethod
    def example(cls, guess=None, yours=None):
        """The explorer as notebook 11 shows it."""
        view = cls(guess, yours)
        start = yours["language"] if yours else view.first
        return explore(
            view, language=(list(view.entries), start), strength=(view.strengths, 1.0), twin=view.twin()
        )  # fmt: skip


def _equal(entry) -> dict[str, tuple[float, dict[str, Band]]]:
    """``{way: (level, {contender: loss on English there})}``."""
    groups = list(finished(entry).values())
    levels = {way: common_level(groups, way) for way in WAYS}
    return {way: (level, english_by_contender(entry, way, level)) for way, level in levels.items()}


def _array(runs, key) -> np.ndarray:
    return np.array([run[key] for run in runs])


def _die(loss: float) -> str:
    return f"{loss:.2f} (a die with {exp(loss):.0f} sides)"
